"""The commands of `tlc gallery` that make one gallery from others: export, import, merge, migrate, recover."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tlc_edge.runtime.bundle.bundle import Bundle
from tlc_edge.runtime.gallery.gallery import Gallery
from tlc_edge.runtime.gallery.merge import Merged
from tlc_edge.runtime.gallery.path import default_gallery
from tlc_edge.runtime.gallery.transfer import CONFLICTS

from .output import Steps, examples, gallery_option, json_option, put_json, say

_engine = click.option(
    "--engine", metavar="NAME", help="ai-edge-litert, tflite-runtime or onnxruntime.  [default: what is installed]"
)
_conflicts = click.option(
    "--conflicts",
    type=click.Choice(CONFLICTS),
    default="first",
    show_default=True,
    help="Which label stands where one image has two: that of the gallery or file named first, the last, or both.",
)
_SHOWN = 10


@click.command()
@click.argument("bundle")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--class", "labels", multiple=True, metavar="LABEL", help="Only this class; can be repeated.")
@gallery_option
@json_option
def export(bundle: str, file: Path, labels: tuple[str, ...], path: str | None, as_json: bool) -> None:
    """Write what was enrolled to one new FILE that another device can import."""
    from tlc_edge.runtime.gallery.transfer import export as run

    with Gallery.open_any(Path(path) if path else default_gallery(Path(bundle))) as opened:
        classes = run(opened, file, labels)
    if as_json:
        put_json({"path": str(file), "bytes": file.stat().st_size, "classes": classes})
    else:
        click.echo(f"{file}: {_listed(classes)}")


@click.command("import")
@click.argument("bundle")
@click.argument("file", type=click.Path(path_type=Path))
@_conflicts
@gallery_option
@_engine
@json_option
def import_(bundle: str, file: Path, conflicts: str, path: str | None, engine: str | None, as_json: bool) -> None:
    """Add the examples of FILE, an export or another gallery; `tlc undo` takes them out again."""
    from tlc_edge.runtime.gallery.merge import import_file

    with Steps(quiet=as_json) as progress:
        done = import_file(
            Bundle.open(bundle),
            file,
            Path(path) if path else None,
            conflicts,
            engine,
            lambda d, t: progress("embed again", d, t),
        )
    _report(done, conflicts, as_json)


@click.command()
@click.argument("bundle")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE…")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The new file.")
@_conflicts
@_engine
@json_option
def merge(
    bundle: str, files: tuple[Path, ...], output: Path, conflicts: str, engine: str | None, as_json: bool
) -> None:
    """Make one new file of several devices' galleries or exports, for BUNDLE's model."""
    from tlc_edge.runtime.gallery.merge import merge as run

    with Steps(quiet=as_json) as progress:
        opened = Bundle.open(bundle)
        done = run(opened, files, output, conflicts, engine, lambda d, t: progress("embed again", d, t))
    _report(done, conflicts, as_json)


@click.command()
@click.argument("bundle")
@click.option("--gallery", "path", metavar="FILE", help="The gallery to bring over.  [default: <bundle>.gallery]")
@_engine
@json_option
def migrate(bundle: str, path: str | None, engine: str | None, as_json: bool) -> None:
    """Bring a gallery of another model over to BUNDLE, by showing it the kept thumbnails."""
    from tlc_edge.runtime.gallery.migrate import migrate as run

    with Steps(quiet=as_json) as progress:
        done = run(Bundle.open(bundle), Path(path) if path else None, engine, lambda d, t: progress("migrate", d, t))
    if as_json:
        moved = {"moved": done.moved, "lost": done.lost, "classes": done.classes}
        put_json({"path": str(done.path), "kept": str(done.kept), **moved})
        return
    click.echo(f"{done.path}: {examples(done.moved)} brought over; the old gallery is kept as {done.kept.name}")
    if done.lost:
        click.echo(f"{examples(done.lost)} had no thumbnail and could not be brought over")


@click.command()
@click.argument("bundle")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The new gallery.")
@click.option("--gallery", "path", metavar="FILE", help="The damaged gallery.  [default: <bundle>.gallery]")
@json_option
def recover(bundle: str, output: Path, path: str | None, as_json: bool) -> None:
    """Save what can be read of a damaged gallery to a new one; the damaged file is left as it is."""
    from tlc_edge.runtime.gallery.recover import recover as run

    opened = Bundle.open(bundle)
    where = Path(path) if path else default_gallery(opened.path)
    done = run(where, output, opened.manifest.fingerprint, opened.manifest.embedding_width)
    if as_json:
        put_json({**vars(done), "path": str(done.path)})
        return
    click.echo(f"{done.path}: {examples(done.saved)} saved: {_listed(done.classes)}")
    if done.loose:
        click.echo(f"{done.loose} of them were found in loose pages: some may have been forgotten or renamed before")
    if done.without_thumbnail:
        click.echo(f"{done.without_thumbnail} have no thumbnail")
    if done.unreadable:
        click.echo(f"{done.unreadable} could not be read")
    # SQLite would take a log that is left beside the name for the new file's own.
    click.echo(
        f"to go on with it: move {where.name}, and {where.name}-wal where there is one, away, "
        f"and rename {done.path.name} to {where.name}"
    )


def _report(done: Merged, rule: str, as_json: bool) -> None:
    if as_json:
        document: dict[str, Any] = {**vars(done), "path": str(done.path)}
        put_json({**document, "conflicts": [{**vars(c), "held": list(c.held)} for c in done.conflicts]})
        return
    notes = [f"{examples(done.added)} added", f"{done.duplicates} known already"]
    notes += [f"{done.embedded} embedded again"] if done.embedded else []
    notes += [f"{done.lost} without a thumbnail left out"] if done.lost else []
    notes += [f"{done.gone} gave way to the limit"] if done.gone else []
    click.echo(f"{done.path}: {', '.join(notes)}")
    click.echo(f"enrolled: {_listed(done.classes)}")
    if done.conflicts:
        kept = {"first": "the label it had stands", "last": "the incoming label stands", "both": "both stand"}
        count = len(done.conflicts)
        came = "1 image came under a label it" if count == 1 else f"{count} images came under a label they"
        say(f"{came} did not have; {kept[rule]}:")
        for conflict in done.conflicts[:_SHOWN]:
            say(f"  {conflict.name}: {', '.join(conflict.held)} here, {conflict.incoming} there")
        if len(done.conflicts) > _SHOWN:
            say(f"  … and {len(done.conflicts) - _SHOWN} more; --json lists all")


def _listed(classes: dict[str, int]) -> str:
    return ", ".join(f"{label} {count}" for label, count in classes.items()) or "nothing"
