"""Training images amid those of another class: some are hard, many are mislabelled."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.records import Floats
from tlc_edge.runtime.vectors import unit_rows

NEIGHBOURS = 7
AGREEING = 5
"""Neighbours that must be of one other class, while none is of the image's own.

Measured on digits with 2 % of the labels changed, by EfficientNet-Lite0's features: of 5,000, 85 of the 100 changed
ones were found and 45 others, most of them badly written; of 90 chess photos, all 4 and no other.
"""
_MOST = 10_000  # images to be a neighbour; of more, an even part
_ROWS = 1024  # compared at a time


@dataclass(frozen=True)
class Odd:
    """A training image that looks like another class."""

    index: int
    """Among the training images."""
    like: int
    """The class it looks like."""
    votes: int
    """How many of its `NEIGHBOURS` nearest images are of that class; the others are of other classes still."""


def find_odd(embeddings: Floats, classes: NDArray[np.int64]) -> tuple[Odd, ...]:
    """Return the images [N, D] with only images of other classes around them, the clearest first."""
    if len(embeddings) <= NEIGHBOURS:
        return ()
    unit = unit_rows(embeddings)
    others = np.argsort(classes, kind="stable")
    if len(others) > _MOST:
        others = others[np.linspace(0, len(others) - 1, _MOST).astype(np.int64)]
    found: list[tuple[int, float, Odd]] = []
    for start in range(0, len(unit), _ROWS):
        rows = np.arange(start, min(start + _ROWS, len(unit)))
        similar = unit[rows] @ unit[others].T
        similar[rows[:, None] == others[None]] = -np.inf  # no image is its own neighbour
        near = np.argpartition(-similar, NEIGHBOURS, axis=1)[:, :NEIGHBOURS]
        labels = classes[others[near]]
        for i in np.flatnonzero((labels != classes[rows][:, None]).all(axis=1)).tolist():
            counts = np.bincount(labels[i])
            like, votes = int(counts.argmax()), int(counts.max())
            if votes >= AGREEING:
                nearness = float(similar[i, near[i]].mean())
                found.append((votes, nearness, Odd(int(rows[i]), like, votes)))
    return tuple(odd for _, _, odd in sorted(found, key=lambda f: (-f[0], -f[1], f[2].index)))
