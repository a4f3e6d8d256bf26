"""List a backbone's layers, to choose where to shave.

\b
tlc layers keras:MobileNetV2 --alpha 0.35
tlc layers ./my-model.keras
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from tlc_edge.cli.build_options import loading_options
from tlc_edge.cli.notes import say_notes
from tlc_edge.cli.options import json_option
from tlc_edge.cli.output import put, put_json, table
from tlc_edge.compiler.options import DEFAULT


@click.command(help=__doc__)
@click.argument("backbone", default=DEFAULT)
@loading_options
@json_option
def layers(backbone: str, as_json: bool, asked: Any) -> None:
    from tlc_edge.compiler.backbones.list_layers import look_at_layers

    looked = look_at_layers(backbone, asked)
    found, rows, cuts = looked.backbone, looked.layers, looked.cuts
    say_notes(found.notes, found.restored)
    if as_json:
        put_json(
            {
                "backbone": found.name,
                "input": asdict(found.input),
                "default": found.default_shave,
                "why": found.default_reason,
                "compared": [asdict(cut) for cut in cuts],
                "removed": list(found.removed),
                "merged": dict(found.merged),
                "notes": list(found.notes),
                "restored": [asdict(r) for r in found.restored],
                "layers": [asdict(row) for row in rows],
            }
        )
        return
    put(
        *table(
            [
                (
                    r.index,
                    r.name,
                    r.kind,
                    "x".join(map(str, r.shape)),
                    f"{r.parameters:,}",
                    "?" if r.macs is None else f"{r.macs:,}",
                    "default" if r.default else "yes" if r.shave else "no",
                )
                for r in rows
            ],
            ("", "layer", "kind", "output", "parameters", "MACs", "shave"),
        )
    )
    known = [r.macs for r in rows if r.macs is not None]
    work = f"{sum(known):,}" if len(known) == len(rows) else "an unknown number of"
    put("", f"{sum(r.parameters for r in rows):,} parameters, {work} MACs per image")
    put(f"Default: {found.default_shave}, {found.default_reason}")
    if len(cuts) > 1:
        others = ", ".join(f"{c.layer}{' flattened' if c.pool == 'flatten' else ''}" for c in cuts[1:])
        put(f"It flattens into dense layers: a build compares that cut with {others} on your images")
    for r in rows[1:]:
        if r.reason and not r.default and not r.shave:
            put(f"Not at {r.name}: {r.reason}")
    if found.removed:
        put(f"Left off: {', '.join(found.removed)}")
    if found.merged:
        put(f"{len(found.merged)} layers are folded into others; their names can be given all the same")
