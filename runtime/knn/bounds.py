"""What bounds the product of a row and a query from above: the row's leading coordinates, and the length of the rest.

`FloatBounds` multiplies them in one product. `SmallBounds` keeps them in a quarter of the memory, as int8 with a scale
and the length of what that leaves out of them, which goes into the bound: it is a bound all the same.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tlc_edge.runtime.vectors import Floats, quantize_rows

from .blocks import Blocks
from .products import faster_product

_PORTION = 16_384  # rows to convert at a time: 6 MB


class Bounds(Protocol):
    """Leading coordinates [N, M] and the lengths of the rest [N]."""

    def append(self, lead: Floats, rest: Floats) -> None:
        """Add rows [n, M] with the lengths of their rests [n]."""
        ...

    def put(self, row: int, lead: Floats, rest: Floats) -> None:
        """Replace one row by another, [1, M] and [1]."""
        ...

    def upper(self, lead: Floats, rest: float) -> Floats:
        """Return what the product of each row with a query [M] is not above, but for rounding, [N]."""
        ...


class FloatBounds:
    """All as float32 in one matrix."""

    def __init__(self, lead: int) -> None:
        self._rows = Blocks(lead + 1, np.float32)
        self._product = faster_product(lead + 1)

    def append(self, lead: Floats, rest: Floats) -> None:
        """Copy them in."""
        self._rows.append(np.concatenate([lead, rest[:, None]], axis=1))

    def put(self, row: int, lead: Floats, rest: Floats) -> None:
        """Overwrite a row."""
        self._rows.put(row, np.concatenate([lead[0], rest]))

    def upper(self, lead: Floats, rest: float) -> Floats:
        """Multiply every row: one reading of the matrix."""
        query = np.append(lead, np.float32(rest))
        out = np.empty(self._rows.count, np.float32)
        for span, block in self._rows.spans():
            self._product(block, query, out[span])
        return out


class SmallBounds:
    """Coordinates as int8; a search converts them in portions."""

    def __init__(self, lead: int) -> None:
        self._rows = Blocks(lead, np.int8)
        self._rests = Blocks(3, np.float32)  # scale, length of what rounding left out, length of the rest

    def append(self, lead: Floats, rest: Floats) -> None:
        """Round them, and measure what that leaves out."""
        rows, rests = _rounded(lead, rest)
        self._rows.append(rows)
        self._rests.append(rests)

    def put(self, row: int, lead: Floats, rest: Floats) -> None:
        """Round and overwrite one row."""
        rows, rests = _rounded(lead, rest)
        self._rows.put(row, rows[0])
        self._rests.put(row, rests[0])

    def upper(self, lead: Floats, rest: float) -> Floats:
        """Multiply every row, and add for each what rounding may have taken away."""
        out = np.empty(self._rows.count, np.float32)
        for span, block in self._rows.spans():
            for start in range(0, len(block), _PORTION):
                part = block[start : start + _PORTION].astype(np.float32)
                out[span.start + start : span.start + start + len(part)] = part @ lead
        aside = np.array([np.sqrt(np.dot(lead, lead)), rest], np.float32)
        for span, block in self._rests.spans():
            out[span] = out[span] * block[:, 0] + block[:, 1:] @ aside
        return out


def _rounded(lead: Floats, rest: Floats) -> tuple[NDArray[np.int8], Floats]:
    rows, scales = quantize_rows(lead)
    off = lead - rows.astype(np.float32) * scales[:, None]
    aside = np.sqrt(np.einsum("ij,ij->i", off, off)) * np.float32(1.0001)  # rounded up
    return rows, np.stack([scales, aside, rest], axis=1).astype(np.float32)
