"""Make the gallery's file smaller; what was undoable is then gone for good."""

from __future__ import annotations

import click

from tlc_edge.cli.options import bundle_argument, gallery_option, gallery_path, json_option
from tlc_edge.cli.output import put, put_json, size


@click.command(help=__doc__)
@bundle_argument
@gallery_option()
@json_option
def compact(bundle: str, gallery: str | None, as_json: bool) -> None:
    from tlc_edge.runtime.gallery.compact import compact as run
    from tlc_edge.runtime.gallery.gallery import Gallery

    with Gallery.open_any(gallery_path(bundle, gallery), read_only=False) as opened:
        done = run(opened)
        where = opened.path
    if as_json:
        put_json({"path": str(where), "before": done.before, "after": done.after})
    else:
        put(f"{where}: {size(done.before)} before, {size(done.after)} now; nothing can be undone any more")
