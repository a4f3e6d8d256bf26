"""List the tokens there are, by their names; what they are is kept nowhere."""

from __future__ import annotations

import click

from tlc_edge.cli.options import json_option, state_option
from tlc_edge.cli.output import put, put_json, table


@click.command("list", help=__doc__)
@state_option
@json_option
def list_(state: str | None, as_json: bool) -> None:
    from tlc_edge.runtime.serve.tokens import Tokens, state_folder

    found = Tokens(state_folder(state)).all()
    if as_json:
        put_json({"tokens": [{"name": t.name, "read_only": t.read_only, "created": t.created} for t in found]})
        return
    rows = [(t.name, "read only" if t.read_only else "may teach", t.created) for t in found]
    put(*table(rows, ("token", "what it may", "added")))
