"""Give the enrolled class OLD the name NEW."""

from __future__ import annotations

from typing import Any

import click

from tlc_edge.cli.options import bundle_argument, device_options, json_option
from tlc_edge.cli.output import examples, put, put_json


@click.command(help=__doc__)
@bundle_argument
@click.argument("old")
@click.argument("new")
@click.option("--merge", is_flag=True, help="NEW is enrolled already: let OLD join it.")
@device_options
@json_option
def rename(bundle: str, old: str, new: str, merge: bool, as_json: bool, **options: Any) -> None:
    from tlc_edge.runtime.classifier import Classifier

    with Classifier.open(bundle, selftest=False, **options) as classifier:
        change = classifier.rename(old, new, merge=merge)
    if as_json:
        put_json({"label": change.label, "added": change.added, "gone": change.gone, "classes": dict(change.classes)})
    else:
        merged = f"; {change.gone} merged at the limit (see `tlc gallery limit`)" if change.gone else ""
        put(f"{old} is now {change.label} ({examples(change.added)}){merged}")
