"""Embeddings as stored: int8 rows with a scale, held to plain numpy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tlc_edge.runtime.vectors import (
    distinct,
    quantile,
    quantize_row,
    quantize_rows,
    row_lengths,
    unit_rows,
    unit_rows_and_lengths,
)

FINITE = st.floats(-(2.0**100), 2.0**100, width=32)


def test_a_row_is_stored_as_these_numbers() -> None:
    row, scale = quantize_row(np.array([0.0, 1.0, -2.54, 1.27], np.float32))
    assert row.dtype == np.int8
    assert row.tolist() == [0, 50, -127, 64]  # 63.5 rounds to the even neighbour
    assert scale == pytest.approx(0.02)


@given(arrays(np.float32, st.integers(1, 40), elements=FINITE))
def test_a_stored_row_is_within_half_a_step_of_what_it_was(vector: np.ndarray) -> None:
    if np.abs(vector).max() < 1e-30:
        with pytest.raises(ValueError, match="finite and not all zero"):
            quantize_row(vector)
        return
    row, scale = quantize_row(vector)
    assert np.abs(row).max() == 127
    assert np.abs(row * scale - vector.astype(np.float64)).max() <= 0.5001 * scale


@pytest.mark.parametrize("vector", [[], [0, 0], [1, np.nan], [np.inf, 1], [1e-31, 0]])
def test_a_vector_without_direction_cannot_be_stored(vector: list[float]) -> None:
    with pytest.raises(ValueError, match="finite and not all zero"):
        quantize_row(np.array(vector, np.float32))


@given(arrays(np.int8, st.tuples(st.integers(0, 6), st.integers(1, 30)), elements=st.integers(-127, 127)))
def test_rows_get_unit_length_and_keep_their_direction(rows: np.ndarray) -> None:
    unit = unit_rows(rows)
    assert unit.dtype == np.float32
    assert unit.flags.c_contiguous
    lengths = np.linalg.norm(rows.astype(np.float64), axis=1)
    assert np.allclose(np.linalg.norm(unit, axis=1), lengths > 0, atol=1e-6)
    assert np.allclose(unit * lengths[:, None], rows, atol=1e-4)


def test_rows_of_float_are_not_changed_in_place_and_one_vector_is_one_row() -> None:
    given_ = np.array([3, 4], np.float32)
    assert unit_rows(given_).tolist() == [[np.float32(0.6), np.float32(0.8)]]
    assert given_.tolist() == [3, 4]


def test_the_scale_says_nothing_about_the_direction() -> None:
    vector = np.random.default_rng(0).normal(size=64).astype(np.float32)
    small, _ = quantize_row(vector * np.float32(1e-6))
    large, _ = quantize_row(vector * np.float32(1e6))
    assert np.array_equal(small, large)
    assert float(unit_rows(small)[0] @ unit_rows(vector)[0]) > 0.9999


def test_rows_are_stored_as_these_numbers() -> None:
    rows, scales = quantize_rows(np.array([[0, 1, -2.54], [0, 0, 0], [0.127, 0.001, -0.063]], np.float32))
    assert (rows.dtype, scales.dtype) == (np.int8, np.float32)
    assert rows.tolist() == [[0, 50, -127], [0, 0, 0], [127, 1, -63]]
    assert scales.tolist() == pytest.approx([0.02, 1, 0.001])
    assert [part.shape for part in quantize_rows(np.zeros((2, 0), np.float32))] == [(2, 0), (2,)]


def test_rows_that_were_stored_become_themselves_again() -> None:
    rows = np.random.default_rng(0).integers(-127, 128, (50, 9), np.int8)
    rows[:, 0] = 127
    scales = np.linspace(1e-6, 1e6, 50, dtype=np.float32)
    again, found = quantize_rows(rows * scales[:, None])
    assert (again == rows).all()
    assert found == pytest.approx(scales, rel=1e-6)


def test_lengths() -> None:
    rows = np.array([[3, 4], [0, 0], [-127, 0]], np.int8)
    assert row_lengths(rows).tolist() == [5, 0, 127]
    unit, lengths = unit_rows_and_lengths(rows)
    assert (lengths.dtype, lengths.tolist()) == (np.float32, [5, 0, 127])
    assert unit.tolist() == [[np.float32(0.6), np.float32(0.8)], [0, 0], [-1, 0]]


@pytest.mark.parametrize("shape", [(1,), (2,), (7,), (3, 2), (4, 101)], ids=str)
def test_a_quantile_is_numpys_to_the_bit(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(len(shape) + shape[-1])
    numbers = np.round(rng.normal(size=shape), 2)  # so that some are equal
    for share in (0.0, 0.02, 0.05, 0.25, 0.5, 0.6180339887, 0.99, 1.0, *rng.random(200).tolist()):
        assert np.array_equal(quantile(numbers, share), np.quantile(numbers, share, axis=-1)), share


@pytest.mark.parametrize("numbers", [[], [3], [2, 1, 2, 2, 0, 1], [5, 5, 5]], ids=str)
def test_distinct_numbers_are_numpys_unique_ones(numbers: list[int]) -> None:
    asked = np.array(numbers, np.int64)
    found = distinct(asked)
    assert (found.dtype, found.tolist()) == (np.dtype(np.int64), np.unique(asked).tolist())
    assert asked.tolist() == numbers  # left as it was
