"""`tlc gallery`: look at what was enrolled, keep it in order, carry it between devices and models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tlc_edge.runtime.bundle.bundle import Bundle
from tlc_edge.runtime.classifier import Classifier
from tlc_edge.runtime.errors import GalleryError, unknown_name
from tlc_edge.runtime.gallery.gallery import Gallery
from tlc_edge.runtime.gallery.limits import Limits
from tlc_edge.runtime.gallery.path import default_gallery
from tlc_edge.runtime.gallery.records import Example

from .device import device_options
from .gallery_files import export, import_, merge, migrate, recover
from .output import examples, gallery_option, json_option, put_json, size, table


@click.group()
def gallery() -> None:
    """Look at what was enrolled, keep it in order, carry it between devices and models."""


@gallery.command("list")
@click.argument("bundle")
@click.argument("label", required=False)
@click.option(
    "--thumbnails",
    "pictures",
    metavar="DIR|FILE.html",
    help="Write the kept pictures into a folder per class, or all on one page.",
)
@gallery_option
@json_option
def list_(bundle: str, label: str | None, pictures: str | None, path: str | None, as_json: bool) -> None:
    """List the enrolled classes, or the examples of the class LABEL."""
    where = Path(path) if path else default_gallery(Path(bundle))
    classes: dict[str, int] = {}
    held: list[Example] = []
    written = 0
    found = Gallery.open_any(where) if path or pictures else Gallery.open_any_if_exists(where)
    if found is not None:
        with found as opened:
            classes = opened.classes()
            held = opened.examples(label) if label is not None else []
            written = _write_pictures(opened, Path(pictures)) if pictures else 0
    else:
        Bundle.open(bundle)  # so that a mistyped name is not taken for a bundle that was taught nothing
        if label is not None:
            raise unknown_name("class", label, [])
    if as_json:
        more = {"thumbnails": {"path": pictures, "written": written}} if pictures else {}
        put_json({"classes": classes, "examples": [vars(e) for e in held], **more})
    elif label is not None:
        rows = [(e.id, e.at, e.source_name, "yes" if e.has_thumbnail else "no") for e in held]
        click.echo(table(rows, ("id", "enrolled (UTC)", "from", "thumbnail")))
    else:
        click.echo(table(list(classes.items()), ("class", "examples")) if classes else "nothing is enrolled")
    if pictures and not as_json:
        click.echo(f"{pictures}: {written} thumbnails")


def _write_pictures(opened: Gallery, path: Path) -> int:
    from tlc_edge.runtime.gallery.contact_sheet import write_sheet, write_thumbnails

    is_page = path.suffix.lower() in (".html", ".htm")
    return write_sheet(opened, path) if is_page else write_thumbnails(opened, path)


@gallery.command()
@click.argument("bundle")
@click.argument("old")
@click.argument("new")
@click.option("--merge", is_flag=True, help="NEW is enrolled already: let OLD join it.")
@device_options
@json_option
def rename(bundle: str, old: str, new: str, merge: bool, as_json: bool, **options: Any) -> None:
    """Give the enrolled class OLD the name NEW."""
    with Classifier.open(bundle, selftest=False, **options) as classifier:
        change = classifier.rename(old, new, merge=merge)
    if as_json:
        put_json({"label": change.label, "added": change.added, "classes": dict(change.classes)})
    else:
        click.echo(f"{old} is now {change.label} ({examples(change.added)})")


@gallery.command()
@click.argument("bundle")
@click.option("--class", "per_class", type=click.IntRange(min=0), metavar="N", help="Examples a class; 0: no limit.")
@click.option("--total", type=click.IntRange(min=0), metavar="N", help="Examples in all; 0: no limit.")
@gallery_option
@json_option
def limit(bundle: str, per_class: int | None, total: int | None, path: str | None, as_json: bool) -> None:
    """Show or set how many examples are kept.

    Where there are more, those give way that the others of their class cover best; `tlc undo` brings them back.
    """
    gone = 0
    is_change = per_class is not None or total is not None
    with Gallery.open_any(Path(path) if path else default_gallery(Path(bundle)), read_only=not is_change) as opened:
        limits = opened.limits()
        if is_change:
            limits = Limits(
                limits.per_class if per_class is None else per_class, limits.total if total is None else total
            )
            gone = opened.limit(limits).gone
        classes = opened.classes()
    if as_json:
        put_json({"per_class": limits.per_class, "total": limits.total, "gone": gone, "classes": classes})
        return
    click.echo(f"examples kept: {limits.per_class or 'any number'} a class, {limits.total or 'any number'} in all")
    if gone:
        click.echo(f"{examples(gone)} gave way; `tlc undo` brings back what did")


@gallery.command()
@click.argument("bundle")
@gallery_option
@json_option
def check(bundle: str, path: str | None, as_json: bool) -> None:
    """Examine every page and every example of the gallery."""
    where = Path(path) if path else default_gallery(Path(bundle))
    with Gallery.open_any(where) as opened:
        problems = opened.check()
    if as_json:
        put_json({"path": str(where), "problems": problems})
    elif not problems:
        click.echo(f"{where}: clean")
    if problems:
        raise GalleryError(
            f"{where}: {len(problems)} problem{'s' * (len(problems) != 1)}; the first: {problems[0]}; save what is "
            "readable with `tlc gallery recover`, or restore a copy"
        )


@gallery.command()
@click.argument("bundle")
@gallery_option
@json_option
def compact(bundle: str, path: str | None, as_json: bool) -> None:
    """Make the gallery's file smaller; what was undoable is then gone for good."""
    from tlc_edge.runtime.gallery.compact import compact as run

    with Gallery.open_any(Path(path) if path else default_gallery(Path(bundle)), read_only=False) as opened:
        done = run(opened)
        where = opened.path
    if as_json:
        put_json({"path": str(where), "before": done.before, "after": done.after})
    else:
        click.echo(f"{where}: {size(done.before)} before, {size(done.after)} now; nothing can be undone any more")


for _command in (export, import_, merge, migrate, recover):
    gallery.add_command(_command)
