"""Remove what was enrolled as LABEL; `tlc undo` brings it back."""

from __future__ import annotations

from typing import Any

import click

from tlc_edge.cli.change import print_change
from tlc_edge.cli.options import bundle_argument, device_options, json_option


@click.command(help=__doc__)
@bundle_argument
@click.argument("label")
@device_options
@json_option
def forget(bundle: str, label: str, as_json: bool, **options: Any) -> None:
    from tlc_edge.runtime.classifier import Classifier

    with Classifier.open(bundle, selftest=False, **options) as classifier:
        change = classifier.forget(label)
    print_change(change, as_json, added=False)
