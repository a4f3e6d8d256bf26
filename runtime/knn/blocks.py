"""Matrices that grow row by row, in memory or on disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlc_edge.runtime.vectors import Indices, distinct

LEAST = 64  # rows of a block
_BLOCK_BYTES = 32 << 20
_ON_DISK = "/var/tmp"
_LINE = 64  # bytes that a processor reads at once


class Blocks:
    """A matrix that grows at the end and never moves: row blocks whose memory the system gives when it is written.

    With `on_disk` it lies in files without a name, mapped into memory: what is not in use need not be there.
    """

    def __init__(self, width: int, dtype: Any, *, on_disk: bool = False) -> None:
        self.width = width
        self.count = 0
        self._on_disk = on_disk
        self._dtype = np.dtype(dtype)
        self._rows = max(LEAST, _BLOCK_BYTES // max(1, width * self._dtype.itemsize))
        self._blocks: list[NDArray[Any]] = []

    def append(self, rows: NDArray[Any]) -> None:
        """Add rows [n, width] at the end."""
        done = 0
        while done < len(rows):
            block, at = divmod(self.count, self._rows)
            if block == len(self._blocks):
                self._blocks.append(self._more())
            part = rows[done : done + self._rows - at]
            self._blocks[block][at : at + len(part)] = part
            self.count += len(part)
            done += len(part)

    def _more(self) -> NDArray[Any]:
        shape = (self._rows, self.width)
        if not self._on_disk:
            return _aligned(shape, self._dtype)
        import tempfile  # only who has more rows than memory needs it

        # Not where temporary files are by default: that may be memory.
        folder = _ON_DISK if os.access(_ON_DISK, os.W_OK) else None
        with tempfile.TemporaryFile(dir=folder) as file:
            file.truncate(self._rows * self.width * self._dtype.itemsize)
            return np.memmap(file, self._dtype, "r+", shape=shape)

    def put(self, row: int, value: NDArray[Any]) -> None:
        """Replace one row."""
        self._blocks[row // self._rows][row % self._rows] = value

    def spans(self) -> Iterator[tuple[slice, NDArray[Any]]]:
        """Yield the filled part of every block with where its rows stand."""
        for i, block in enumerate(self._blocks):
            start = i * self._rows
            end = min(self.count, start + self._rows)
            yield slice(start, end), block[: end - start]

    def take(self, rows: Indices) -> NDArray[Any]:
        """Return a copy of rows, [n, width]."""
        if len(self._blocks) == 1:
            return self._blocks[0][rows]
        out = np.empty((len(rows), self.width), self._dtype)
        block = rows // self._rows
        for b in distinct(block).tolist():
            here = block == b
            out[here] = self._blocks[b][rows[here] - b * self._rows]
        return out


def _aligned(shape: tuple[int, int], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return memory that begins where a line of the processor's cache does: a product reads it a sixth faster."""
    size = shape[0] * shape[1] * dtype.itemsize
    memory = np.empty(size + _LINE, np.uint8)
    start = -memory.ctypes.data % _LINE
    return memory[start : start + size].view(dtype).reshape(shape)
