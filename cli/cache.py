"""`tlc cache`: what is kept so that it need not be made again."""

from __future__ import annotations

from dataclasses import asdict

import click

from .data_options import cache_option
from .output import json_option, put_json, size


@click.group()
def cache() -> None:
    """Show or empty the cache: features of images seen before, downloads, unpacked archives."""


@cache.command()
@cache_option
@json_option
def info(cache: str | None, as_json: bool) -> None:
    """Show where the cache is and what it takes."""
    from tlc_edge.compiler.cache.folder import look_at_cache

    found = look_at_cache(cache)
    if as_json:
        put_json(asdict(found))
        return
    if found.folder is None:
        click.echo("the cache is off")
        return
    click.echo(f"folder    {found.folder}")
    click.echo(f"features  {found.entries:,} entries, {size(found.features)} of at most {size(found.limit)}")
    click.echo(f"data      {size(found.data)} of downloads and unpacked archives")


@cache.command()
@cache_option
@json_option
def clear(cache: str | None, as_json: bool) -> None:
    """Remove all that is in the cache; the next build makes it again."""
    from tlc_edge.compiler.cache.folder import clear_cache

    freed = clear_cache(cache)
    if as_json:
        put_json({"freed": freed})
    else:
        click.echo(f"{size(freed)} freed")
