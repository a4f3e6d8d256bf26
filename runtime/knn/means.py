"""The means of classes: what their rows point at together, each row as often as the examples that it stands for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tlc_edge.runtime.vectors import Floats, unit_rows


class Means:
    """Sums of unit rows by class, in float64, and the directions that these point in; both grow with the classes."""

    def __init__(self, classes: int, width: int) -> None:
        """Start with so many classes without rows."""
        self._sums = np.zeros((classes, width), np.float64)
        self._means = np.zeros((0, width), np.float32)
        self.point(np.arange(classes))

    def of(self, classes: int) -> Floats:
        """Return the means of the first so many classes, [C, D], of unit length; 0 where a class has no rows."""
        return self._means[:classes]

    def sums(self, classes: int) -> NDArray[np.float64]:
        """Return the sums of the first so many classes, [C, D]; not to be changed."""
        return self._sums[:classes]

    def make_room(self, classes: int) -> None:
        """Let every class that has come have its sum."""
        missing = classes - len(self._sums)
        if missing > 0:
            more = np.zeros((missing + len(self._sums) // 4, self._sums.shape[1]), np.float64)
            self._sums = np.concatenate([self._sums, more])

    def add(self, classes: NDArray[np.int64], rows: Floats, weights: NDArray[np.int64]) -> None:
        """Add rows [n, D], as often as they stand for, to the sums of their classes [n].

        One sum per run of one class is ten times as fast as `np.add.at`.
        """
        if not len(classes):
            return
        starts = np.flatnonzero(np.diff(classes, prepend=-1))
        if 4 * len(starts) > len(classes):  # mixed: put each class together
            order = np.argsort(classes, kind="stable")
            classes, rows, weights = classes[order], rows[order], weights[order]
            starts = np.flatnonzero(np.diff(classes, prepend=-1))
        weighed = rows if weights.max() == 1 else rows * weights[:, None].astype(np.float64)
        np.add.at(self._sums, classes[starts], np.add.reduceat(weighed, starts, axis=0, dtype=np.float64))

    def take_out(self, c: int, row: Floats, weight: int) -> None:
        """Take a row [D] of class `c` out again."""
        self._sums[c] -= weight * row

    def point(self, classes: NDArray[np.int64]) -> None:
        """Bring the means of classes up to date with their sums."""
        missing = len(self._sums) - len(self._means)
        if missing > 0:
            self._means = np.concatenate([self._means, np.zeros((missing, self._sums.shape[1]), np.float32)])
        self._means[classes] = unit_rows(self._sums[classes].astype(np.float32))
