"""How near the enrolled examples are to the others of their class, kept up to date one example at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tlc_edge.runtime.vectors import Floats, Indices

ENOUGH = 200
"""Examples of a class to judge it by; beyond, their number would cost more than it tells."""


class Unit(Protocol):
    """Where rows of unit length are to be had."""

    def take(self, rows: Indices) -> Floats:
        """Return rows as float32 [n, D]."""
        ...


class LeaveOneOut:
    """Each enrolled row's cosine to the nearest other row of its class, itself left out.

    Of a class with more than ENOUGH rows every second one counts, then every fourth, and so on: adding a
    row costs at most ENOUGH products however many there are, and the result does not depend on whether
    the rows came together or one by one.
    """

    def __init__(self, rows: Unit) -> None:
        self._rows = rows
        self._members: dict[int, list[int]] = {}
        self._best: dict[int, Floats] = {}
        self._scores: list[Floats] | None = None

    def add(self, added: Sequence[tuple[int, int]]) -> None:
        """Take in rows, as pairs of row number and class."""
        by_class: dict[int, list[int]] = {}
        for row, c in added:
            by_class.setdefault(c, []).append(row)
        for c, rows in by_class.items():
            members = self._members.setdefault(c, [])
            if len(rows) == 1 and members and _stride(len(members) + 1) == _stride(len(members)):
                self._add_one(c, rows[0])
            else:
                members += rows
                self._best[c] = self._measure(members)
        self._scores = None

    def remove(self, row: int, c: int) -> None:
        """Take out a row of class `c`, before its place in the matrix is used again."""
        members = self._members[c]
        members.remove(row)
        self._best[c] = self._measure(members)
        self._scores = None

    def scores(self) -> list[Floats]:
        """Return the cosines, one array per class; rows alone in their class give none."""
        if self._scores is None:
            self._scores = [best for best in self._best.values() if len(best) > 1]
        return self._scores

    def _add_one(self, c: int, row: int) -> None:
        members = self._members[c]
        stride = _stride(len(members))
        if len(members) % stride == 0:
            sample = np.array(members[::stride], np.int64)
            similar = self._rows.take(sample) @ self._rows.take(np.array([row]))[0]
            self._best[c] = np.append(np.maximum(self._best[c], similar), similar.max())
        members.append(row)

    def _measure(self, members: list[int]) -> NDArray[np.float32]:
        if len(members) < 2:
            return np.full(len(members), -1.0, np.float32)
        unit = self._rows.take(np.array(members[:: _stride(len(members))], np.int64))
        similar = unit @ unit.T
        np.fill_diagonal(similar, -1.0)
        best: Floats = similar.max(axis=1)
        return best


def _stride(count: int) -> int:
    stride = 1
    while -(-count // stride) > ENOUGH:
        stride *= 2
    return stride
