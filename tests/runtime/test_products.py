"""The product of the stored rows with an embedding: what it gives, and how much of it is given to BLAS at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tlc_edge.runtime.knn.products import dot, einsum, faster_product

IN_ONE_THREAD = 460_800  # numbers: OpenBLAS, interface/gemv.c


@pytest.mark.parametrize("width", [1, 49, 256, 512, 3000])
@pytest.mark.parametrize("count", [0, 1, 64, 832, 833, 1000, 8191])
def test_each_row_is_multiplied_wherever_the_portions_end(width: int, count: int) -> None:
    rng = np.random.default_rng(width + count)
    rows, vector = rng.integers(-8, 8, (count, width)).astype(np.float32), rng.integers(-8, 8, width).astype(np.float32)
    for product in (dot, einsum, faster_product(width)):
        out = np.full(count, np.nan, np.float32)
        product(rows, vector, out)
        assert np.array_equal(out, rows.astype(np.float64) @ vector)  # whole numbers: any order gives the same


@pytest.mark.parametrize(
    ("count", "width", "parts"),
    [(850, 512, 1), (1000, 512, 2), (1000, 256, 1), (8000, 512, 10), (20_000, 97, 5), (9000, 512, 1)],
)
def test_what_a_prediction_would_wait_for_is_given_to_one_thread(
    count: int, width: int, parts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    numpys: Any = np.dot
    given: list[int] = []
    monkeypatch.setattr(np, "dot", lambda a, *rest: (given.append(a.size), numpys(a, *rest)))
    rows, vector, out = np.ones((count, width), np.float32), np.ones(width, np.float32), np.empty(count, np.float32)
    dot(rows, vector, out)
    assert out.tolist() == [width] * count
    assert (len(given), sum(given)) == (parts, count * width)
    assert parts == 1 or max(given) < IN_ONE_THREAD
