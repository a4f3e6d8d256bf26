"""What classes claim of images whose right answer a device knows: the bundle's exemplars and the enrolled examples.

Of each such sample, for each class, the cosine to the nearest row of that class is kept, the sample itself left out.
A row that comes costs one product with the samples; a class from which one goes is measured again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from tlc_edge.runtime.vectors import Floats, distinct

EXEMPLARS = 400
"""Exemplars that are samples; of more, an even choice is."""
ENROLLED = 256
"""Enrolled examples that are samples at most, the same share of them for each class."""
_PORTION = 4096
_NONE = -2.0  # below every cosine


class Unit(Protocol):
    """Where rows of unit length are to be had."""

    def take(self, rows: NDArray[np.int64]) -> Floats:
        """Return rows as float32 [n, D]."""
        ...


class Samples(NamedTuple):
    """Samples and how near the nearest row of each class is to them."""

    rows: NDArray[np.int64]
    """[S]"""
    classes: NDArray[np.int64]
    """[S]"""
    vectors: Floats
    """[S, D]"""
    nearest: Floats
    """[S, C], cosines; -2 where the class has no row but the sample."""


class Claims:
    """The samples of a bank, kept up to date."""

    def __init__(self, rows: Unit, exemplar_classes: NDArray[np.int64], width: int) -> None:
        """Start with exemplars, the first rows, of these classes [E]; `rows` give vectors of `width`."""
        self._rows = rows
        self._exemplars = exemplar_classes
        count = len(exemplar_classes)
        self.chosen: NDArray[np.int64] = distinct(
            np.linspace(0, max(0, count - 1), min(count, EXEMPLARS)).astype(np.int64)
        )
        """Exemplars that are samples, [E']."""
        self._members: dict[int, list[int]] = {}
        self._fresh: list[tuple[int, int]] = []
        self._stale: set[int] = set()
        self._own = Samples(
            self.chosen,
            exemplar_classes[self.chosen],
            rows.take(self.chosen),
            np.zeros((len(self.chosen), 0), np.float32),
        )
        none = np.zeros(0, np.int64)
        self._enrolled = Samples(none, none, np.zeros((0, width), np.float32), np.zeros((0, 0), np.float32))

    def add(self, added: Sequence[tuple[int, int]]) -> None:
        """Take in enrolled rows, as pairs of row number and class; they are measured when they are asked for."""
        for row, c in added:
            self._members.setdefault(c, []).append(row)
        self._fresh += added

    def remove(self, row: int, c: int) -> None:
        """Take out an enrolled row of class `c`, before its place in the matrix is used again."""
        self._members[c].remove(row)
        self._fresh = [one for one in self._fresh if one[0] != row]
        self._stale.add(c)
        self._enrolled = _chosen(self._enrolled, np.flatnonzero(self._enrolled.rows != row))

    def samples(self, classes: int) -> tuple[Samples, Samples]:
        """Return exemplars beside enrolled rows, and enrolled examples beside all rows; there are so many classes."""
        fresh, stale = [one for one in self._fresh if one[1] not in self._stale], sorted(self._stale)
        self._fresh, self._stale = [], set()
        again = [(row, c) for c in stale for row in self._members[c]]
        own, enrolled = _widened(self._own, classes), _widened(self._enrolled, classes)
        own.nearest[:, stale] = _NONE
        enrolled.nearest[:, stale] = _NONE
        every = [(row, int(c)) for row, c in enumerate(self._exemplars.tolist())]
        self._raise(own, fresh + again)
        self._raise(enrolled, fresh + again + [one for one in every if one[1] in stale])
        wanted = self._wanted()
        kept = {row: i for i, row in enumerate(enrolled.rows.tolist())}
        new = [one for one in wanted if one[0] not in kept]
        if new:
            more = self._sampled(new, classes)
            self._raise(more, every + [(row, c) for c, rows in self._members.items() for row in rows])
            enrolled = _joined(enrolled, more)
            kept = {row: i for i, row in enumerate(enrolled.rows.tolist())}
        order = np.array([kept[row] for row, _ in wanted], np.int64)
        self._own, self._enrolled = own, _chosen(enrolled, order)
        return self._own, self._enrolled

    def _wanted(self) -> list[tuple[int, int]]:
        """Return the enrolled samples: of each class every n-th in the order of enrolment, n a power of two."""
        present = {c: rows for c, rows in sorted(self._members.items()) if rows}
        each = max(1, ENROLLED // max(1, len(present)))
        return [(row, c) for c, rows in present.items() for row in rows[:: _stride(len(rows), each)]]

    def _sampled(self, wanted: Sequence[tuple[int, int]], classes: int) -> Samples:
        rows = np.array([row for row, _ in wanted], np.int64)
        nearest = np.full((len(rows), classes), _NONE, np.float32)
        return Samples(rows, np.array([c for _, c in wanted], np.int64), self._rows.take(rows), nearest)

    def _raise(self, samples: Samples, others: Sequence[tuple[int, int]]) -> None:
        """Let other rows, with their classes, come near to samples."""
        if not len(samples.rows):
            return
        for start in range(0, len(others), _PORTION):
            part = sorted(others[start : start + _PORTION], key=lambda one: one[1])
            rows, classes = np.array([r for r, _ in part], np.int64), np.array([c for _, c in part], np.int64)
            cosines = samples.vectors @ self._rows.take(rows).T
            cosines[samples.rows[:, None] == rows] = _NONE
            starts = np.flatnonzero(np.diff(classes, prepend=-1))
            found = np.maximum.reduceat(cosines, starts, axis=1)
            of = classes[starts]
            samples.nearest[:, of] = np.maximum(samples.nearest[:, of], found)


def _chosen(of: Samples, some: NDArray[np.int64]) -> Samples:
    return Samples(of.rows[some], of.classes[some], of.vectors[some], of.nearest[some])


def _joined(a: Samples, b: Samples) -> Samples:
    return Samples(
        np.concatenate([a.rows, b.rows]),
        np.concatenate([a.classes, b.classes]),
        np.concatenate([a.vectors, b.vectors]),
        np.concatenate([a.nearest, b.nearest]),
    )


def _widened(samples: Samples, classes: int) -> Samples:
    missing = classes - samples.nearest.shape[1]
    wide = np.pad(samples.nearest, ((0, 0), (0, missing)), constant_values=_NONE) if missing > 0 else samples.nearest
    return samples._replace(nearest=wide)


def _stride(count: int, most: int) -> int:
    stride = 1
    while -(-count // stride) > most:
        stride *= 2
    return stride
