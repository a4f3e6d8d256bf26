"""List the enrolled classes, or the examples of the class LABEL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tlc_edge.cli.options import bundle_argument, gallery_option, gallery_path, json_option
from tlc_edge.cli.output import put, put_json, table
from tlc_edge.runtime.errors import unknown_name

if TYPE_CHECKING:
    from tlc_edge.runtime.gallery.gallery import Gallery
    from tlc_edge.runtime.gallery.records import Example


@click.command("list", help=__doc__)
@bundle_argument
@click.argument("label", required=False)
@click.option(
    "--thumbnails",
    "pictures",
    metavar="DIR|FILE.html",
    help="Write the kept pictures into a folder per class, or all on one page.",
)
@gallery_option()
@json_option
def list_(bundle: str, label: str | None, pictures: str | None, gallery: str | None, as_json: bool) -> None:
    from tlc_edge.runtime.bundle.bundle import Bundle
    from tlc_edge.runtime.gallery.gallery import Gallery

    where = gallery_path(bundle, gallery)
    classes: dict[str, int] = {}
    taught: dict[str, int] = {}
    held: list[Example] = []
    written = 0
    found = Gallery.open_any(where) if gallery or pictures else Gallery.open_any_if_exists(where)
    if found is not None:
        with found as opened:
            classes, taught = opened.classes(), opened.taught()
            held = opened.examples(label) if label is not None else []
            written = _write_pictures(opened, Path(pictures)) if pictures else 0
    else:
        Bundle.open(bundle)  # so that a mistyped name is not taken for a bundle that was taught nothing
        if label is not None:
            raise unknown_name("class", label, [])
    if as_json:
        more = {"thumbnails": {"path": pictures, "written": written}} if pictures else {}
        put_json({"classes": classes, "taught": taught, "examples": [vars(e) for e in held], **more})
    elif label is not None:
        put(*_examples(held))
    else:
        put(*_classes(classes, taught))
    if pictures and not as_json:
        put(f"{pictures}: {written} thumbnails")


def _examples(held: Sequence[Example]) -> list[str]:
    names = ["id", "enrolled (UTC)", "from", "thumbnail"]
    rows = [[e.id, e.at, e.source_name, "yes" if e.has_thumbnail else "no"] for e in held]
    if any(e.stands_for > 1 for e in held):
        names.append("mean of")
        rows = [[*row, e.stands_for if e.stands_for > 1 else ""] for row, e in zip(rows, held, strict=True)]
    return table(rows, names)


def _classes(classes: Mapping[str, int], taught: Mapping[str, int]) -> list[str]:
    if not classes:
        return ["nothing is enrolled"]
    if taught == classes:
        return table(list(classes.items()), ("class", "examples"))
    return table([(label, taught[label], count) for label, count in classes.items()], ("class", "examples", "kept as"))


def _write_pictures(opened: Gallery, path: Path) -> int:
    from tlc_edge.runtime.gallery.contact_sheet import write_sheet, write_thumbnails

    is_page = path.suffix.lower() in (".html", ".htm")
    return write_sheet(opened, path) if is_page else write_thumbnails(opened, path)
