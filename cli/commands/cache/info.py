"""Show where the cache is and what it takes."""

from __future__ import annotations

from dataclasses import asdict

import click

from tlc_edge.cli.options import cache_option, json_option
from tlc_edge.cli.output import put, put_json, size


@click.command(help=__doc__)
@cache_option
@json_option
def info(cache: str | None, as_json: bool) -> None:
    from tlc_edge.compiler.cache.folder import look_at_cache

    found = look_at_cache(cache)
    if as_json:
        put_json(asdict(found))
        return
    if found.folder is None:
        put("the cache is off")
        return
    put(f"folder    {found.folder}")
    put(f"features  {found.entries:,} entries, {size(found.features)} of at most {size(found.limit)}")
    put(f"data      {size(found.data)} of downloads and unpacked archives")
