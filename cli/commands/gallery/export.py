"""Write what was enrolled to one new FILE that another device can import."""

from __future__ import annotations

from pathlib import Path

import click

from tlc_edge.cli.gallery import listed
from tlc_edge.cli.options import bundle_argument, gallery_option, gallery_path, json_option
from tlc_edge.cli.output import put, put_json


@click.command(help=__doc__)
@bundle_argument
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--class", "labels", multiple=True, metavar="LABEL", help="Only this class; can be repeated.")
@gallery_option()
@json_option
def export(bundle: str, file: Path, labels: tuple[str, ...], gallery: str | None, as_json: bool) -> None:
    from tlc_edge.runtime.gallery.gallery import Gallery
    from tlc_edge.runtime.gallery.transfer import export as run

    with Gallery.open_any(gallery_path(bundle, gallery)) as opened:
        classes = run(opened, file, labels)
    if as_json:
        put_json({"path": str(file), "bytes": file.stat().st_size, "classes": classes})
    else:
        put(f"{file}: {listed(classes)}")
