"""Parity as a table: what files made from one trained state give for the same images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .output import put, table

if TYPE_CHECKING:
    from tlc_edge.compiler.verify.parity import Parity


def print_parity(parity: Parity, heading: str) -> None:
    """Print every two files; nothing where there is only one."""
    if not parity.pairs:
        return
    rows = [
        (
            pair.one,
            pair.other,
            f"{pair.lowest_cosine:.4f}",
            f"{pair.mean_cosine:.4f}",
            "-" if pair.largest_difference is None else f"{pair.largest_difference:.3f}",
            "-" if pair.agreement is None else f"{pair.agreement:.3f}",
        )
        for pair in parity.pairs
    ]
    head = ("", "against", "lowest cosine", "mean cosine", "largest probability difference", "same answer")
    put("", f"{heading}")
    put(*table(rows, head))
