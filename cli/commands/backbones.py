"""List the pretrained networks to start from.

Besides these names, --backbone takes a .keras or .h5 file, a TensorFlow.js model.json, the folder of a
SavedModel or a TF-Hub feature vector, and FILE.py:FUNCTION with --weights CHECKPOINT.
"""

from __future__ import annotations

from dataclasses import asdict

import click

from tlc_edge.cli.options import json_option
from tlc_edge.cli.output import put, put_json, table


@click.command(help=__doc__)
@json_option
def backbones(as_json: bool) -> None:
    from tlc_edge.compiler.backbones.find import backbones as known

    found = known()
    if as_json:
        put_json({"backbones": [asdict(b) for b in found]})
        return
    rows = [
        (
            b.name,
            "x".join(map(str, b.input)),
            f"{b.parameters:,}",
            b.width,
            b.pretrained_on,
            b.licence,
            b.source,
            "yes" if b.installed else "no",
        )
        for b in found
    ]
    put(
        *table(
            rows,
            ("name", "input", "parameters", "features", "pretrained on", "licence", "weights from", "here"),
        )
    )
