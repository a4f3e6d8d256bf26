"""The product of a matrix and a vector, by whatever is faster here."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from tlc_edge.runtime.vectors import Floats

Product = Callable[[Floats, Floats, Floats], object]


def _dot(matrix: Floats, vector: Floats, out: Floats) -> object:
    return np.dot(matrix, vector, out)


def _einsum(matrix: Floats, vector: Floats, out: Floats) -> object:
    return np.einsum("ij,j->i", matrix, vector, out=out)


def faster_product(width: int) -> Product:
    """Time both products once: with a BLAS that is not tuned (Debian's reference one), einsum is faster."""
    matrix, vector = np.ones((256, width), np.float32), np.ones(width, np.float32)
    out = np.empty(256, np.float32)
    best: dict[Product, float] = {}
    for product in (_dot, _einsum, _dot, _einsum):
        start = time.perf_counter()
        product(matrix, vector, out)
        best[product] = min(best.get(product, 1e9), time.perf_counter() - start)
    return _einsum if 1.5 * best[_einsum] < best[_dot] else _dot
