"""Embeddings as stored: int8 rows with a scale each, and their unit-length float form for search."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Indices = NDArray[np.int64]


def quantize_row(vector: NDArray[np.float32]) -> tuple[NDArray[np.int8], float]:
    """Return one embedding as int8 [D] and the scale that gives it back (`row * scale`).

    Raises:
        ValueError: the vector is not finite or all zero, so it has no direction to store.
    """
    largest = float(np.max(np.abs(vector))) if vector.size else 0.0
    if not np.isfinite(largest) or largest < 1e-30:  # below, the scale itself would underflow
        raise ValueError("an embedding must be finite and not all zero")
    scale = largest / 127.0
    return np.rint(vector / scale).astype(np.int8), scale


def quantize_rows(rows: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return finite rows [N, D] as int8 with a scale each; an all-zero row stays zero.

    Rows that came from int8 rows with a largest magnitude of 127 become those again, to the bit.
    """
    scales = np.abs(rows).max(axis=1, initial=0).astype(np.float32) / np.float32(127)
    scales[scales == 0] = 1
    return np.rint(rows / scales[:, None]).astype(np.int8), scales


def unit_rows(rows: NDArray[np.int8] | NDArray[np.float32]) -> NDArray[np.float32]:
    """Return rows [N, D] divided by their length, float32; an all-zero row stays zero.

    For int8 rows the length is that of the int8 row itself: the cosine is then right whatever the
    row's scale, and ranks better than a scale of largest/127 does.
    """
    return unit_rows_and_lengths(rows)[0]


def unit_rows_and_lengths(
    rows: NDArray[np.int8] | NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return `unit_rows` of [N, D] and the lengths that they had, [N], both float32."""
    out = np.array(rows, dtype=np.float32, order="C", ndmin=2)
    lengths = row_lengths(out)
    out /= np.where(lengths == 0, np.float32(1), lengths)[:, None]
    return out, lengths


def row_lengths(rows: NDArray[np.int8] | NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the length of each row of [N, D], float32."""
    floats = np.asarray(rows, np.float32)
    lengths: NDArray[np.float32] = np.sqrt(np.einsum("ij,ij->i", floats, floats, dtype=np.float64)).astype(np.float32)
    return lengths


def quantile(numbers: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """Return the number, of those in the last axis, below which this share of them lies, 0 to 1; all are finite.

    To the bit what `np.quantile` gives, which loads numpy's masked arrays: as long as a prediction takes.
    """
    ascending = np.sort(numbers)
    last = numbers.shape[-1] - 1
    place = last * share
    before = min(int(place), last)
    low, high = ascending[..., before], ascending[..., min(before + 1, last)]
    part, step = place - before, high - low
    return np.asarray(low + step * part if part < 0.5 else high - step * (1 - part))


def distinct(numbers: Indices) -> Indices:
    """Return the different ones of whole numbers, ascending; `np.unique` loads numpy's masked arrays for it."""
    ascending = np.sort(numbers)
    first = np.ones(len(ascending), np.bool_)
    first[1:] = ascending[1:] != ascending[:-1]
    return ascending[first]
