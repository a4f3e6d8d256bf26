"""Show or set how many examples are kept.

Where there are more, those of a class that are most alike are merged into their mean, which counts for all of them;
`tlc undo` brings them back.
"""

from __future__ import annotations

import click

from tlc_edge.cli.options import bundle_argument, gallery_option, gallery_path, json_option
from tlc_edge.cli.output import examples, put, put_json


@click.command(help=__doc__)
@bundle_argument
@click.option("--class", "per_class", type=click.IntRange(min=0), metavar="N", help="Examples per class; 0: no limit.")
@click.option("--total", type=click.IntRange(min=0), metavar="N", help="Examples in all; 0: no limit.")
@gallery_option()
@json_option
def limit(bundle: str, per_class: int | None, total: int | None, gallery: str | None, as_json: bool) -> None:
    from tlc_edge.runtime.gallery.gallery import Gallery
    from tlc_edge.runtime.gallery.limits import Limits

    gone = 0
    is_change = per_class is not None or total is not None
    with Gallery.open_any(gallery_path(bundle, gallery), read_only=not is_change) as opened:
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
    put(f"examples kept: {limits.per_class or 'any number'} per class, {limits.total or 'any number'} in all")
    if gone:
        put(f"{examples(gone)} merged into others; `tlc undo` takes them apart again")
