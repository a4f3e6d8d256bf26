"""The product of a matrix and a vector, by whatever is faster here."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from tlc_edge.runtime.vectors import Floats

Product = Callable[[Floats, Floats, Floats], object]

_NUMBERS = 450_000
"""Of a matrix that OpenBLAS multiplies in one thread (interface/gemv.c: below 460,800)."""
_MANY = 1 << 22
"""Numbers from which on several cores gain more than it costs to wait for them."""


def dot(matrix: Floats, vector: Floats, out: Floats) -> object:
    """Multiply; in one thread where waiting for another costs most, for 20 ms while other programs have its core."""
    count, width = matrix.shape
    if not _NUMBERS < count * width < _MANY:
        return np.dot(matrix, vector, out)
    rows = max(64, _NUMBERS // width // 64 * 64)
    for start in range(0, count, rows):
        np.dot(matrix[start : start + rows], vector, out[start : start + rows])
    return out


def einsum(matrix: Floats, vector: Floats, out: Floats) -> object:
    """Multiply in numpy's own code, which is one thread's."""
    return np.einsum("ij,j->i", matrix, vector, out=out)


def faster_product(width: int) -> Product:
    """Time both products once: with a BLAS that is not tuned (Debian's reference one), einsum is faster."""
    matrix, vector = np.ones((256, width), np.float32), np.ones(width, np.float32)
    out = np.empty(256, np.float32)
    best: dict[Product, float] = {}
    for product in (dot, einsum, dot, einsum):
        start = time.perf_counter()
        product(matrix, vector, out)
        best[product] = min(best.get(product, 1e9), time.perf_counter() - start)
    return einsum if 1.5 * best[einsum] < best[dot] else dot
