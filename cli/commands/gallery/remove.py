"""Remove single examples, by their numbers as `tlc gallery list BUNDLE LABEL` and `tlc gallery show` print them."""

from __future__ import annotations

from typing import Any

import click

from tlc_edge.cli.change import print_change
from tlc_edge.cli.options import bundle_argument, device_options, json_option


@click.command(help=__doc__)
@bundle_argument
@click.argument("ids", nargs=-1, required=True, type=int, metavar="ID…")
@device_options
@json_option
def remove(bundle: str, ids: tuple[int, ...], as_json: bool, **options: Any) -> None:
    from tlc_edge.runtime.classifier import Classifier

    with Classifier.open(bundle, selftest=False, **options) as classifier:
        change = classifier.remove(ids)
    print_change(change, as_json, added=False)
