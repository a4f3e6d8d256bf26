"""Make one new file of several devices' galleries or exports, for BUNDLE's model.

A folder stands for the files in it whose names end with .gallery, by name.
"""

from __future__ import annotations

from pathlib import Path

import click

from tlc_edge.cli.gallery import conflicts_option, print_merged
from tlc_edge.cli.options import bundle_argument, engine_option, json_option
from tlc_edge.cli.output import StepLines


@click.command(help=__doc__)
@bundle_argument
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE|DIR…")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The new file.")
@conflicts_option
@engine_option()
@json_option
def merge(
    bundle: str, files: tuple[Path, ...], output: Path, conflicts: str, engine: str | None, as_json: bool
) -> None:
    from tlc_edge.runtime.bundle.bundle import Bundle
    from tlc_edge.runtime.gallery.merge import merge as run

    with StepLines(quiet=as_json) as progress:
        opened = Bundle.open(bundle)
        done = run(
            opened,
            files,
            output,
            conflicts,
            engine,
            lambda d, t: progress("embed again", d, t),
            lambda d, t: progress("merge", d, t),
        )
    print_merged(done, conflicts, as_json)
