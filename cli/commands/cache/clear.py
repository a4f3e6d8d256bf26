"""Remove all that is in the cache; the next build makes it again."""

from __future__ import annotations

import click

from tlc_edge.cli.options import cache_option, json_option
from tlc_edge.cli.output import put, put_json, size


@click.command(help=__doc__)
@cache_option
@json_option
def clear(cache: str | None, as_json: bool) -> None:
    from tlc_edge.compiler.cache.folder import clear_cache

    freed = clear_cache(cache)
    if as_json:
        put_json({"freed": freed})
    else:
        put(f"{size(freed)} freed")
