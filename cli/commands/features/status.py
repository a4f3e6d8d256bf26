"""Show how far the shards of a plan are, and what they took."""

from __future__ import annotations

import click

from tlc_edge.cli.options import json_option
from tlc_edge.cli.output import put_json
from tlc_edge.cli.shards import print_states, states_document


@click.command(help=__doc__)
@click.argument("store")
@json_option
def status(store: str, as_json: bool) -> None:
    from tlc_edge.compiler.shards.store import Store
    from tlc_edge.compiler.shards.stored import states

    found = states(Store(store))
    if as_json:
        put_json(states_document(store, found))
    else:
        print_states(store, found)
