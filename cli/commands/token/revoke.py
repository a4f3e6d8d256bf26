"""Revoke the token NAME: from then on it opens nothing, also on a server that runs."""

from __future__ import annotations

import click

from tlc_edge.cli.options import json_option, state_option
from tlc_edge.cli.output import put, put_json


@click.command(help=__doc__)
@click.argument("name")
@state_option
@json_option
def revoke(name: str, state: str | None, as_json: bool) -> None:
    from tlc_edge.runtime.serve.tokens import Tokens, state_folder

    token = Tokens(state_folder(state)).revoke(name)
    if as_json:
        put_json({"name": token.name})
    else:
        put(f"{token.name}: revoked")
