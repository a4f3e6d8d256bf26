"""Save what can be read of a damaged gallery to a new one; the damaged file is left as it is."""

from __future__ import annotations

from pathlib import Path

import click

from tlc_edge.cli.gallery import listed
from tlc_edge.cli.options import bundle_argument, gallery_option, gallery_path, json_option
from tlc_edge.cli.output import examples, put, put_json


@click.command(help=__doc__)
@bundle_argument
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The new gallery.")
@gallery_option("The damaged gallery.")
@json_option
def recover(bundle: str, output: Path, gallery: str | None, as_json: bool) -> None:
    from tlc_edge.runtime.bundle.bundle import Bundle
    from tlc_edge.runtime.gallery.recover import recover as run

    opened = Bundle.open(bundle)
    where = gallery_path(bundle, gallery)
    done = run(where, output, opened.manifest.fingerprint, opened.manifest.embedding_width)
    if as_json:
        put_json({**vars(done), "path": str(done.path)})
        return
    put(f"{done.path}: {examples(done.saved)} saved: {listed(done.classes)}")
    if done.loose:
        put(f"{done.loose} of them were found in loose pages: some may have been forgotten or renamed before")
    if done.without_thumbnail:
        put(f"{done.without_thumbnail} have no thumbnail")
    if done.unreadable:
        put(f"{done.unreadable} could not be read")
    # SQLite would take a log that is left beside the name for the new file's own.
    put(
        f"to go on with it: move {where.name}, and {where.name}-wal where there is one, away, "
        f"and rename {done.path.name} to {where.name}"
    )
