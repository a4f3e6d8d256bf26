"""What is taken for what: a matrix, and where that is too large to be read, the pairs."""

from __future__ import annotations

from dataclasses import dataclass

from tlc_edge.compiler.report.evidence import Pictures
from tlc_edge.compiler.report.findings import Findings, confused_pairs
from tlc_edge.compiler.report.section import Section
from tlc_edge.compiler.report.text import Table, name

_MATRIX = 40  # a larger matrix is no longer read, only scrolled
_NARROW = 12  # classes up to which it fits a telephone, and its columns may carry names
_NAME = 24  # characters of a column's name, at most
_PAIRS = 20


@dataclass(frozen=True)
class Cell:
    """Images of a class that were answered with another, or with itself."""

    images: int
    right: bool
    tint: str
    """How strong its colour is, 0 to 1: the share of the class."""


def section(f: Findings, _pictures: Pictures | None) -> Section:
    """Return the matrix, the pairs, or both."""
    labels, pairs = f.labels, confused_pairs(f)
    rows = [[name(labels[i]), name(labels[j]), str(n)] for n, i, j in pairs[:_PAIRS]]
    return Section(
        "confusion",
        "What is taken for what",
        __file__,
        {
            "labels": labels,
            "matrix": [_row(f, i) for i in range(len(labels))] if len(labels) <= _MATRIX else [],
            "named": len(labels) <= _NARROW and max(map(len, labels)) <= _NAME,
            "narrow": len(labels) <= _NARROW,
            "pairs": Table(("truth", "answer", "images"), rows, "small"),
            "more": len(pairs) - len(rows),
        },
    )


def _row(f: Findings, i: int) -> list[Cell]:
    counts = [int(n) for n in f.confusion[i]]
    total = max(1, sum(counts))
    return [Cell(n, i == j, f"{0.15 + 0.55 * n / total:.2f}") for j, n in enumerate(counts)]
