"""Show which stored examples are nearest to IMAGE: why the answer is what it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tlc_edge.cli.options import bundle_argument, device_options, json_option
from tlc_edge.cli.output import put, put_json, table


@click.command(help=__doc__)
@bundle_argument
@click.argument("image")
@click.option("--page", metavar="FILE.html", help="Write a page with the image and the kept pictures beside it.")
@device_options
@json_option
def show(bundle: str, image: str, page: str | None, as_json: bool, **options: Any) -> None:
    from tlc_edge.runtime.classifier import Classifier
    from tlc_edge.runtime.gallery.contact_sheet import write_neighbours
    from tlc_edge.runtime.images.named import one_image

    with Classifier.open(bundle, **options) as classifier:
        answer = classifier.explain(one_image(image))
    found = answer.prediction
    said = f"{image}: {found.label} {found.score:.2f}{' (unknown)' if found.unknown else ''}, by the {found.source}"
    near = [
        {
            "id": n.id,
            "label": n.label,
            "similarity": round(n.similarity, 4),
            "source_name": e.source_name if e else None,
            "at": e.at if e else None,
            "has_thumbnail": picture is not None,
        }
        for n, e, picture in answer.near
    ]
    if page is not None:
        captions = [f"#{n.id or '-'} {n.label} {n.similarity:.3f}" for n, _, _ in answer.near]
        write_neighbours(
            Path(page), answer.seen, said, [(c, p) for c, (_, _, p) in zip(captions, answer.near, strict=True)]
        )
    if as_json:
        put_json(
            {
                "image": image,
                "label": found.label,
                "score": round(found.score, 6),
                "source": found.source,
                "unknown": found.unknown,
                "neighbours": near,
                "page": page,
            }
        )
        return
    put(said)
    rows = [
        (n["id"] or "-", n["label"], f"{n['similarity']:.3f}", n["at"] or "-", n["source_name"] or "from the bundle")
        for n in near
    ]
    put(*table(rows, ("id", "class", "similarity", "enrolled (UTC)", "from")) if rows else ["nothing is stored"])
    if page is not None:
        put(f"{page} written")
