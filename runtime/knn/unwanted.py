"""What must not pass: what the bundle brought, and what was enrolled as none of these. It is of no class."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tlc_edge.runtime.labels import NONE_OF_THESE
from tlc_edge.runtime.vectors import Floats, row_lengths, unit_rows

if TYPE_CHECKING:
    from tlc_edge.runtime.gallery.records import GalleryRows


class Unwanted:
    """Examples of what must not pass, as known-ness compares them."""

    def __init__(self, brought: Floats, shift: Floats, base: tuple[str, ...]) -> None:
        """Start with embeddings that a bundle brings, [U, D]; `base` are its classes."""
        self._shift = shift
        self._is_class = NONE_OF_THESE in base  # then a class like any other
        self._brought = unit_rows(brought + shift)
        self.clear()

    def clear(self) -> None:
        """Take every enrolled one out again."""
        self._ids = np.zeros(len(self._brought), np.int64)  # the gallery's; 0 for what was brought
        self.rows = self._brought
        """[n, D], of unit length."""

    def nearest(self, toward: Floats) -> float:
        """Return the known-ness of what points `toward` [D], beside the nearest; -2 where there is none."""
        return float((self.rows @ toward).max()) if len(self.rows) else -2.0

    def leaves(self, rows: GalleryRows) -> tuple[int, int]:
        """Return how many rows of classes come with these, and how many of those that went were of classes."""
        going = np.isin(rows.removed, self._ids, invert=True)
        return len(rows.ids) - int(self._among(rows).sum()), int(going.sum())

    def set_apart(self, rows: GalleryRows) -> GalleryRows:
        """Take in what must not pass; return the rows of classes."""
        are, stay = self._among(rows), ~np.isin(self._ids, rows.removed)
        if not are.any() and stay.all():
            return rows
        lengths = row_lengths(rows.vectors[are]) * rows.scales[are]
        moved: Floats = np.add(unit_rows(rows.vectors[are]) * lengths[:, None], self._shift, dtype=np.float32)
        going = np.isin(rows.removed, self._ids, invert=True)
        self.rows = np.concatenate([self.rows[stay], unit_rows(moved)])
        self._ids = np.concatenate([self._ids[stay], rows.ids[are]])
        return replace(
            rows,
            ids=rows.ids[~are],
            labels=tuple(label for label, its in zip(rows.labels, are.tolist(), strict=True) if not its),
            vectors=rows.vectors[~are],
            scales=rows.scales[~are],
            removed=rows.removed[going],
            stands_for=None if rows.stands_for is None else rows.stands_for[~are],
        )

    def _among(self, rows: GalleryRows) -> NDArray[np.bool_]:
        """Return which rows are of no class, [N]."""
        if self._is_class:
            return np.zeros(len(rows.ids), np.bool_)
        return np.array([label == NONE_OF_THESE for label in rows.labels], np.bool_)
