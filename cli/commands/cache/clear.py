"""Remove all that is in the cache, after asking; the next build makes it again."""

from __future__ import annotations

import sys

import click

from tlc_edge.cli.options import cache_option, json_option
from tlc_edge.cli.output import put, put_json, size
from tlc_edge.runtime.errors import UsageError, plain


@click.command(help=__doc__)
@cache_option
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@json_option
def clear(cache: str | None, yes: bool, as_json: bool) -> None:
    from tlc_edge.compiler.cache.folder import cache_size, clear_cache

    folder, held = cache_size(cache)
    if held and not yes and not _agrees(f"Remove {size(held)} from {folder}", as_json):
        put("nothing removed")
        return
    freed = clear_cache(cache)
    if as_json:
        put_json({"freed": freed})
    else:
        put(f"{size(freed)} freed")


def _agrees(question: str, as_json: bool) -> bool:
    """Return whether the person says yes.

    Raises:
        UsageError: there is no person to ask.
    """
    closed = sys.stdin is None  # pyright: ignore[reportUnnecessaryComparison] - so Python says that it is closed
    if as_json or closed or not sys.stdin.isatty():
        raise UsageError(f"{question}? There is no terminal to ask at; say --yes")
    return click.confirm(f"{plain(question)}?", err=True)
