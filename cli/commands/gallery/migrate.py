"""Bring a gallery of another model over to BUNDLE, by showing it the kept thumbnails."""

from __future__ import annotations

from pathlib import Path

import click

from tlc_edge.cli.options import bundle_argument, engine_option, gallery_option, json_option
from tlc_edge.cli.output import StepLines, examples, put, put_json


@click.command(help=__doc__)
@bundle_argument
@gallery_option("The gallery to bring over.")
@engine_option()
@json_option
def migrate(bundle: str, gallery: str | None, engine: str | None, as_json: bool) -> None:
    from tlc_edge.runtime.bundle.bundle import Bundle
    from tlc_edge.runtime.gallery.migrate import migrate as run

    with StepLines(quiet=as_json) as progress:
        done = run(
            Bundle.open(bundle), Path(gallery) if gallery else None, engine, lambda d, t: progress("migrate", d, t)
        )
    if as_json:
        moved = {"moved": done.moved, "lost": done.lost, "classes": done.classes}
        put_json({"path": str(done.path), "kept": str(done.kept), **moved})
        return
    put(f"{done.path}: {examples(done.moved)} brought over; the old gallery is kept as {done.kept.name}")
    if done.lost:
        put(f"{examples(done.lost)} had no thumbnail and could not be brought over")
