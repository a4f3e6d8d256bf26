"""Take back the latest enroll, forget, rename, remove, move, import or limit; again and again, it walks back."""

from __future__ import annotations

from typing import Any

import click

from tlc_edge.cli.change import print_change
from tlc_edge.cli.options import bundle_argument, device_options, json_option


@click.command(help=__doc__)
@bundle_argument
@device_options
@json_option
def undo(bundle: str, as_json: bool, **options: Any) -> None:
    from tlc_edge.runtime.classifier import Classifier

    with Classifier.open(bundle, selftest=False, **options) as classifier:
        change = classifier.undo()
    print_change(change, as_json, added=change.added > 0 or not change.removed)
