"""Say what is on each IMAGE.

IMAGE is a file, a folder, a pattern in quotes ('photos/**/*.jpg'), a .zip of images, @FILE for a list with a name per
line, or - for standard input.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from tlc_edge.cli.options import bundle_argument, device_options, json_option, unknown_option
from tlc_edge.cli.output import put, put_json, say
from tlc_edge.cli.suggestions import of_video

if TYPE_CHECKING:
    from tlc_edge.runtime.images.load import Source
    from tlc_edge.runtime.knn.prediction import Prediction


@click.command(help=__doc__)
@bundle_argument
@click.argument("images", nargs=-1, required=True, metavar="IMAGE…")
@click.option("--top", default=3, show_default=True, type=click.IntRange(min=1), help="Classes to show for each image.")
@unknown_option("rate")
@device_options
@json_option
def predict(bundle: str, images: tuple[str, ...], top: int, rate: float | None, as_json: bool, **options: Any) -> None:
    from tlc_edge.runtime.classifier import Classifier
    from tlc_edge.runtime.errors import ImageError
    from tlc_edge.runtime.images.named import named_images

    names: deque[str] = deque()

    def sources() -> Iterator[Source]:
        for one in named_images(images):
            names.append(one.name)
            yield one.source

    results: list[dict[str, Any]] = []
    failed: list[dict[str, str]] = []
    with Classifier.open(bundle, unknown=rate, **options) as classifier:
        for prediction in classifier.predict_many(sources(), errors="return"):
            name = names.popleft()
            if isinstance(prediction, ImageError):
                say(f"Error: {prediction}")
                failed.append({"image": name, "error": str(prediction)})
            elif as_json:
                results.append(prediction.document(name))
            else:
                put(f"{name}: {_line(prediction, top)}")
    if as_json:
        put_json({"results": results, **({"errors": failed} if failed else {})})
    if failed:
        hint = of_video(bundle, [one["image"] for one in failed])
        if hint is not None:
            say(f"       ({hint})")
        raise click.exceptions.Exit(1)


def _line(p: Prediction, top: int) -> str:
    ranked = ", ".join(f"{r.label} {r.score:.2f}" for r in p.ranked[:top])
    return f"unknown (nearest: {ranked})" if p.unknown else ranked
