"""Layer by layer: what `tlc verify --layers` prints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from .output import table

if TYPE_CHECKING:
    from tlc_edge.compiler.verify.layer_errors import LayerError

_SHOWN = 20


def layer_rows(errors: Sequence[LayerError]) -> list[dict[str, Any]]:
    """Return a file's layers for `--json`, the noisiest first."""
    from tlc_edge.compiler.verify.layer_errors import worst_first

    rows = [asdict(e) for e in worst_first(errors)]
    return [{k: round(v, 6) if isinstance(v, float) else v for k, v in row.items() if k != "tensor"} for row in rows]


def print_layers(file: str, errors: Sequence[LayerError]) -> None:
    """Print the noisiest layers of a file."""
    rows = layer_rows(errors)
    click.echo(f"\n{file}: {len(rows)} layers against float32, the noisiest first")
    cells = [
        (r["name"], r["operation"], f"{r['snr']:.1f}", f"{r['cosine']:.4f}", f"{100 * r['added']:.2f}")
        for r in rows[:_SHOWN]
    ]
    click.echo(table(cells, ("layer", "operation", "SNR, dB", "cosine", "noise of its own, %")))
    if len(rows) > _SHOWN:
        click.echo(f"… and {len(rows) - _SHOWN} more; --json lists all")
