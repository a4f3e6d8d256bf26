"""Examine every page and every example of the gallery."""

from __future__ import annotations

import click

from tlc_edge.cli.options import bundle_argument, gallery_option, gallery_path, json_option
from tlc_edge.cli.output import put, put_json
from tlc_edge.runtime.errors import GalleryError


@click.command(help=__doc__)
@bundle_argument
@gallery_option()
@json_option
def check(bundle: str, gallery: str | None, as_json: bool) -> None:
    from tlc_edge.runtime.gallery.gallery import Gallery

    where = gallery_path(bundle, gallery)
    with Gallery.open_any(where) as opened:
        problems = opened.check()
    if as_json:
        put_json({"path": str(where), "problems": problems})
    elif not problems:
        put(f"{where}: clean")
    if problems:
        raise GalleryError(
            f"{where}: {len(problems)} problem{'s' * (len(problems) != 1)}; the first: {problems[0]}; save what is "
            "readable with `tlc gallery recover`, or restore a copy"
        )
