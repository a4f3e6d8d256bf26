"""Add a token, and show its link once, with a QR code; it counts at once, also for a server that runs."""

from __future__ import annotations

import click

from tlc_edge.cli.options import json_option, state_option
from tlc_edge.cli.output import put, put_json, say


@click.command(help=__doc__)
@click.option("--name", metavar="NAME", help="To revoke it by.  [default: token-1, token-2, …]")
@click.option("--read-only", is_flag=True, help="It may look, and teach nothing.")
@click.option("--address", metavar="URL", help="Of the page.  [default: where the server was last]")
@state_option
@json_option
def add(name: str | None, read_only: bool, address: str | None, state: str | None, as_json: bool) -> None:
    from tlc_edge.runtime.serve.link import known_address, link_of, qr_lines
    from tlc_edge.runtime.serve.tokens import Tokens, state_folder

    folder = state_folder(state)
    where = address or known_address(folder)
    if where is not None and not as_json:
        qr_lines(where)  # where that cannot be drawn, no token is made that nobody sees
    token, secret = Tokens(folder).add(name, read_only)
    link = None if where is None else link_of(where, secret)
    if as_json:
        put_json({"name": token.name, "read_only": token.read_only, "token": secret, "link": link})
        return
    if link is not None:
        put(*qr_lines(link), link)
    else:
        put(secret)
    say(f"{token.name}: shown this once; `tlc token revoke {token.name}` takes it back")
