"""Exact search for the rows nearest to an embedding: one product, or a bound that spares most of it.

`FloatRows` keeps unit rows as float32 and multiplies all of them. `BoundedRows` keeps int8 rows (a
quarter of the memory) and, beside each, its leading principal coordinates and the length of what they
leave out. By Cauchy and Schwarz the cosine of a row x and a query q is at most

    x_lead · q_lead + |x_rest| |q_rest|

which one product over a fifth of the columns gives for all rows. Only rows whose bound reaches the k-th
best cosine are multiplied out, so the answer is that of the full product whatever the data; how well the
coordinates fit decides the time alone. docs/search.md has the figures that chose these two.
"""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tlc_edge.runtime.vectors import Floats, Indices, quantize_rows, unit_rows

from .blocks import Blocks
from .bounds import Bounds, FloatBounds, SmallBounds
from .products import faster_product

_PORTION = 4096  # rows to convert at a time
_GROUP = 64  # rows of which the best bound speaks for all
_GROUPS = 16  # groups looked into for a first guess of the k-th best cosine
_GUESSES = 128
_SLACK = 4e-6  # float32 rounding of a squared length of 1 is below it


class Rows(Protocol):
    """Unit rows [N, D] that can be added to, replaced and searched."""

    def __len__(self) -> int: ...

    def append(self, unit: Floats) -> None:
        """Add rows [n, D] behind the others, in time that does not depend on how many there are."""
        ...

    def put(self, row: int, unit: Floats) -> None:
        """Replace one row by another, [D]."""
        ...

    def take(self, rows: Indices) -> Floats:
        """Return rows as float32 [n, D]."""
        ...

    def products(self, unit: Floats) -> Floats:
        """Return the product of every row with `unit` [D], [N]."""
        ...

    def nearest(self, unit: Floats, k: int) -> tuple[Indices, Floats]:
        """Return the k rows of highest product and these, best first; the earlier row wins a tie."""
        ...


class FloatRows:
    """All rows as float32; a search multiplies them all."""

    def __init__(self, width: int) -> None:
        self._rows = Blocks(width, np.float32)
        self._product = faster_product(width)

    def __len__(self) -> int:
        return self._rows.count

    def append(self, unit: Floats) -> None:
        """Copy rows in."""
        self._rows.append(unit)

    def put(self, row: int, unit: Floats) -> None:
        """Overwrite a row."""
        self._rows.put(row, unit)

    def take(self, rows: Indices) -> Floats:
        """Copy rows out."""
        return self._rows.take(rows)

    def products(self, unit: Floats) -> Floats:
        """Multiply every row: one reading of the matrix."""
        out = np.empty(self._rows.count, np.float32)
        for span, block in self._rows.spans():
            self._product(block, unit, out[span])
        return out

    def nearest(self, unit: Floats, k: int) -> tuple[Indices, Floats]:
        """Search the product of every row."""
        return take_highest(self.products(unit), k)


class BoundedRows:
    """int8 rows with their leading coordinates along `axes` [M, D], orthonormal rows.

    With `on_disk` the rows are in mapped files and the coordinates take a quarter of the memory; a search then reads of
    the disk only the rows that it multiplies out.
    """

    def __init__(self, axes: Floats, *, on_disk: bool = False) -> None:
        self._axes = axes
        self._rows = Blocks(axes.shape[1], np.int8, on_disk=on_disk)
        self._inverse = Blocks(1, np.float32)  # 1 / length of the int8 row
        self._bounds: Bounds = SmallBounds(len(axes)) if on_disk else FloatBounds(len(axes))

    def __len__(self) -> int:
        return self._rows.count

    def append(self, unit: Floats) -> None:
        """Quantize rows, and measure their coordinates."""
        for start in range(0, len(unit), _PORTION):
            rows, inverse, lead, rest = self._bounded(unit[start : start + _PORTION])
            self._rows.append(rows)
            self._inverse.append(inverse)
            self._bounds.append(lead, rest)

    def put(self, row: int, unit: Floats) -> None:
        """Quantize and measure one row."""
        rows, inverse, lead, rest = self._bounded(unit[None])
        self._rows.put(row, rows[0])
        self._inverse.put(row, inverse[0])
        self._bounds.put(row, lead, rest)

    def take(self, rows: Indices) -> Floats:
        """Copy rows out, as the float32 of their int8 form."""
        return unit_rows(self._rows.take(rows))

    def products(self, unit: Floats) -> Floats:
        """Multiply every row, converted in portions: correct, and slow."""
        out = np.empty(self._rows.count, np.float32)
        for start in range(0, len(out), _PORTION):
            rows = np.arange(start, min(len(out), start + _PORTION))
            out[rows[0] : rows[-1] + 1] = self._exact(rows, unit)
        return out

    def nearest(self, unit: Floats, k: int) -> tuple[Indices, Floats]:
        """Search the rows whose bound reaches the k-th best."""
        count = len(self)
        if count <= _GROUP * _GROUPS or k > _GUESSES or not np.any(unit):
            products = self.products(unit)
            best = highest(products, k)
            return best, products[best]
        bounds = self._upper_bounds(unit)
        guesses = self._exact(_promising(bounds), unit)
        kth = np.partition(guesses, len(guesses) - k)[len(guesses) - k]
        rows = np.flatnonzero(bounds >= kth - np.float32(1e-5))
        products = np.concatenate([self._exact(rows[s : s + _PORTION], unit) for s in range(0, len(rows), _PORTION)])
        best = highest(products, k)
        return rows[best], products[best]

    def _bounded(self, unit: Floats) -> tuple[NDArray[np.int8], Floats, Floats, Floats]:
        rows, _ = quantize_rows(unit)
        floats = rows.astype(np.float32)
        lengths = np.sqrt(np.einsum("ij,ij->i", floats, floats))[:, None]
        inverse = np.divide(1, lengths, where=lengths > 0, out=np.zeros_like(lengths))
        lead = ((floats * inverse) @ self._axes.T).astype(np.float32)
        return rows, inverse, lead, _rest(np.einsum("ij,ij->i", lead, lead))

    def _upper_bounds(self, unit: Floats) -> Floats:
        lead = self._axes @ unit
        return self._bounds.upper(lead, _rest(np.dot(lead, lead)))

    def _exact(self, rows: Indices, unit: Floats) -> Floats:
        products: Floats = self._rows.take(rows).astype(np.float32) @ unit
        products *= self._inverse.take(rows)[:, 0]
        return products


def principal_axes(unit: Floats, count: int) -> Floats:
    """Return the `count` directions in which rows [N, D] extend most, [count, D] orthonormal."""
    _, vectors = np.linalg.eigh(unit.T.astype(np.float64) @ unit.astype(np.float64))
    return np.ascontiguousarray(vectors[:, ::-1][:, :count].T, np.float32)


def highest(values: Floats, k: int) -> Indices:
    """Return the indices of the k highest values, best first; the earlier wins a tie."""
    count = len(values)
    k = min(k, count)
    if k > 16:
        # All that tie with the k-th are kept for the sort, so that ties never depend on the partition.
        kth = values[np.argpartition(values, count - k)[count - k]]
        rows = np.flatnonzero(values >= kth)
        return rows[np.lexsort((rows, -values[rows]))][:k].astype(np.int64)
    return take_highest(values.copy(), k)[0]


def take_highest(values: Floats, k: int) -> tuple[Indices, Floats]:
    """Return the indices of the k highest values and these, best first; `values` is used up."""
    if k > 16:
        best = highest(values, k)
        return best, values[best]
    # argmax takes the first of equals, runs at the speed of memory, and k times it is less than one partition.
    rows: list[int] = []
    found: list[float] = []
    for _ in range(min(k, len(values))):
        row = int(values.argmax())
        rows.append(row)
        found.append(values.item(row))
        values[row] = -math.inf
    return np.array(rows, np.int64), np.array(found, values.dtype)


def _promising(bounds: Floats) -> Indices:
    """Return rows that are likely to hold the best: those of highest bound in the groups of highest bound."""
    groups = len(bounds) // _GROUP
    tops = bounds[: groups * _GROUP].reshape(groups, _GROUP).max(axis=1)
    chosen = np.argpartition(tops, groups - _GROUPS)[groups - _GROUPS :]
    rows = (chosen[:, None] * _GROUP + np.arange(_GROUP)).ravel()
    return rows[np.argpartition(bounds[rows], len(rows) - _GUESSES)[len(rows) - _GUESSES :]]


def _rest(squared: Any) -> Any:
    """Return what is left of a length of 1, rounded up."""
    return np.sqrt(np.maximum(0, 1 - squared) + _SLACK)
