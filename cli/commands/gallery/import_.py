"""Add the examples of FILE, an export or another gallery; `tlc undo` takes them out again."""

from __future__ import annotations

from pathlib import Path

import click

from tlc_edge.cli.gallery import conflicts_option, print_merged
from tlc_edge.cli.options import bundle_argument, engine_option, gallery_option, json_option
from tlc_edge.cli.output import StepLines


@click.command("import", help=__doc__)
@bundle_argument
@click.argument("file", type=click.Path(path_type=Path))
@conflicts_option
@gallery_option()
@engine_option()
@json_option
def import_(bundle: str, file: Path, conflicts: str, gallery: str | None, engine: str | None, as_json: bool) -> None:
    from tlc_edge.runtime.bundle.bundle import Bundle
    from tlc_edge.runtime.gallery.merge import import_file

    with StepLines(quiet=as_json) as progress:
        done = import_file(
            Bundle.open(bundle),
            file,
            Path(gallery) if gallery else None,
            conflicts,
            engine,
            lambda d, t: progress("embed again", d, t),
        )
    print_merged(done, conflicts, as_json)
