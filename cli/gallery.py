"""`tlc gallery`: look at, rename, check and migrate what was enrolled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tlc.runtime.bundle import Bundle
from tlc.runtime.classifier import Classifier, default_gallery
from tlc.runtime.errors import GalleryError, unknown_name
from tlc.runtime.gallery import Example, Gallery

from .device import device_options
from .output import Steps, json_option, put_json, table


@click.group()
def gallery() -> None:
    """Look at, rename, check and migrate what was enrolled."""


@gallery.command("list")
@click.argument("bundle")
@click.argument("label", required=False)
@click.option("--gallery", "path", metavar="FILE", help="The gallery.  [default: <bundle>.gallery]")
@json_option
def list_(bundle: str, label: str | None, path: str | None, as_json: bool) -> None:
    """List the enrolled classes, or the examples of the class LABEL."""
    where = Path(path) if path else default_gallery(Path(bundle))
    classes: dict[str, int] = {}
    examples: list[Example] = []
    if path or where.exists():
        with Gallery.open_any(where) as opened:
            classes = opened.classes()
            examples = opened.examples(label) if label is not None else []
    else:
        Bundle.open(bundle)  # so that a mistyped name is not taken for a bundle that was taught nothing
        if label is not None:
            raise unknown_name("class", label, [])
    if as_json:
        put_json({"classes": classes, "examples": [vars(e) for e in examples]})
    elif label is not None:
        rows = [(e.id, e.at, e.source_name, "yes" if e.has_thumbnail else "no") for e in examples]
        click.echo(table(rows, ("id", "enrolled (UTC)", "from", "thumbnail")))
    else:
        click.echo(table(list(classes.items()), ("class", "examples")) if classes else "nothing is enrolled")


@gallery.command()
@click.argument("bundle")
@click.argument("old")
@click.argument("new")
@device_options
@json_option
def rename(bundle: str, old: str, new: str, as_json: bool, **options: Any) -> None:
    """Give the enrolled class OLD the name NEW."""
    with Classifier.open(bundle, selftest=False, **options) as classifier:
        change = classifier.rename(old, new)
    if as_json:
        put_json({"label": change.label, "added": change.added, "classes": dict(change.classes)})
    else:
        click.echo(f"{old} is now {change.label} ({change.added} examples)")


@gallery.command()
@click.argument("bundle")
@click.option("--gallery", "path", metavar="FILE", help="The gallery.  [default: <bundle>.gallery]")
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
        raise GalleryError(f"{where}: {len(problems)} problems; the first: {problems[0]}; restore a copy of the file")


@gallery.command()
@click.argument("bundle")
@click.option("--gallery", "path", metavar="FILE", help="The gallery to bring over.  [default: <bundle>.gallery]")
@click.option(
    "--engine",
    metavar="NAME",
    help="ai-edge-litert, tflite-runtime or onnxruntime.  [default: what is installed]",
)
@json_option
def migrate(bundle: str, path: str | None, engine: str | None, as_json: bool) -> None:
    """Bring a gallery of another model over to BUNDLE, by showing it the kept thumbnails."""
    from tlc.runtime.migrate import migrate as run

    with Steps(quiet=as_json) as progress:
        done = run(Bundle.open(bundle), Path(path) if path else None, engine, lambda d, t: progress("migrate", d, t))
    if as_json:
        put_json(
            {
                "path": str(done.path),
                "kept": str(done.kept),
                "moved": done.moved,
                "lost": done.lost,
                "classes": done.classes,
            }
        )
        return
    click.echo(f"{done.path}: {done.moved} examples brought over; the old gallery is kept as {done.kept.name}")
    if done.lost:
        click.echo(f"{done.lost} examples had no thumbnail and could not be brought over")
