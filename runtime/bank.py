"""The bank: every vector that KNN compares with, as one contiguous float32 matrix in memory.

The bundle's exemplars come first, the gallery's examples after them. Rows have unit length, so one
matrix-vector product gives all cosines. There is room to spare behind the last row: adding is a copy.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from .bundle import Exemplars
from .gallery_rows import GalleryRows
from .unknown import leave_one_out
from .vectors import unit_rows

Floats = NDArray[np.float32]
_SPARE = 64


class Bank:
    """The rows to search, and which class each belongs to."""

    def __init__(self, exemplars: Exemplars, labels: tuple[str, ...]) -> None:
        self.labels: list[str] = list(labels)
        """Base classes first, then those only in the gallery, in the order in which they came."""
        self.exemplars = len(exemplars.labels)
        self._base = len(labels)
        self._index = {label: i for i, label in enumerate(labels)}
        self._matrix = np.array(exemplars.vectors, np.float32, order="C")
        self._class = np.array(exemplars.labels, np.int64)
        self._ids = np.zeros(self.exemplars, np.int64)
        self._count = self.exemplars
        self._dot = _faster_product(self._matrix.shape[1])
        self._enrolled_scores: Floats | None = None

    def __len__(self) -> int:
        return self._count

    @property
    def row_class(self) -> NDArray[np.int64]:
        """Class index of every row, [N]."""
        return self._class[: self._count]

    @property
    def ids(self) -> NDArray[np.int64]:
        """The gallery's id of every row, [N]; 0 for exemplars."""
        return self._ids[: self._count]

    def similarities(self, embedding: Floats) -> Floats:
        """Return the cosine of `embedding` [D] to every row, [N]; zeros for an embedding without direction."""
        length = float(np.sqrt(np.dot(embedding, embedding)))
        unit = embedding / np.float32(length) if length else embedding
        return self._dot(self._matrix[: self._count], unit)

    def clear(self) -> None:
        """Take every enrolled row out again."""
        self._count = self.exemplars
        del self.labels[self._base :]
        self._index = {label: i for i, label in enumerate(self.labels)}
        self._enrolled_scores = None

    def append(self, rows: GalleryRows) -> None:
        """Add enrolled rows behind the others."""
        new = len(rows.ids)
        if not new:
            return
        self._reserve(self._count + new)
        end = self._count + new
        self._matrix[self._count : end] = unit_rows(rows.vectors)
        self._class[self._count : end] = [self._class_of(label) for label in rows.labels]
        self._ids[self._count : end] = rows.ids
        self._count = end
        self._enrolled_scores = None

    def enrolled_scores(self) -> Floats:
        """Return the enrolled rows' own known-ness, each measured with itself left out."""
        if self._enrolled_scores is None:
            own = slice(self.exemplars, self._count)
            self._enrolled_scores = leave_one_out(self._matrix[own], self._class[own])
        return self._enrolled_scores

    def _class_of(self, label: str) -> int:
        if label not in self._index:
            self._index[label] = len(self.labels)
            self.labels.append(label)
        return self._index[label]

    def _reserve(self, rows: int) -> None:
        if rows <= len(self._matrix):
            return
        room = max(rows, len(self._matrix) * 5 // 4) + _SPARE
        for name in ("_matrix", "_class", "_ids"):
            old = getattr(self, name)
            new = np.zeros((room, *old.shape[1:]), old.dtype)
            new[: self._count] = old[: self._count]
            setattr(self, name, new)


def _product(matrix: Floats, vector: Floats) -> Floats:
    return matrix @ vector


def _einsum(matrix: Floats, vector: Floats) -> Floats:
    result: Floats = np.einsum("ij,j->i", matrix, vector)
    return result


def _faster_product(width: int) -> Callable[[Floats, Floats], Floats]:
    """Time both products once: with a BLAS that is not tuned (Debian's reference one), einsum is faster."""
    matrix, vector = np.ones((256, width), np.float32), np.ones(width, np.float32)
    best: dict[Callable[[Floats, Floats], Floats], float] = {}
    for product in (_product, _einsum, _product, _einsum):
        start = time.perf_counter()
        product(matrix, vector)
        best[product] = min(best.get(product, 1e9), time.perf_counter() - start)
    return _einsum if 1.5 * best[_einsum] < best[_product] else _product
