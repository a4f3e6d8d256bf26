"""The unknown threshold: a quantile of measured scores at the stated false-alarm rate."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlc.runtime.manifest import Unknown
from tlc.runtime.unknown import leave_one_out, threshold
from tlc.runtime.vectors import unit_rows

SCORES = tuple(i / 100 for i in range(101))


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.5, 0.99])
def test_the_stated_share_of_known_images_lies_below(rate: float) -> None:
    assert threshold(Unknown(rate, SCORES)) == pytest.approx(rate)


@given(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=200), st.floats(0.001, 0.999))
def test_no_more_than_the_stated_share_is_called_unknown(scores: list[float], rate: float) -> None:
    line = threshold(Unknown(rate, tuple(scores)))
    below = sum(score < line for score in scores)
    assert below <= math.ceil(rate * len(scores))


def test_nothing_is_unknown_where_it_is_switched_off_or_nothing_calibrates_it() -> None:
    assert threshold(Unknown(0.0, SCORES)) == -math.inf
    assert threshold(Unknown(0.05, ())) == -math.inf
    assert threshold(Unknown(0.05, ()), np.zeros(0, np.float32)) == -math.inf


def test_enrolled_examples_move_it() -> None:
    before = threshold(Unknown(0.5, SCORES))
    assert threshold(Unknown(0.5, SCORES), np.zeros(101, np.float32)) < before
    assert threshold(Unknown(0.5, SCORES), np.ones(101, np.float32)) > before
    assert threshold(Unknown(0.5, SCORES), np.zeros(0, np.float32)) == before
    assert threshold(Unknown(0.5, ()), np.array([0.25], np.float32)) == 0.25


def test_left_out_a_row_meets_its_nearest_other_of_the_same_class() -> None:
    rows = unit_rows(np.array([[1, 0], [1, 1], [0, 1], [1, 0], [0, 1]], np.float32))
    found = leave_one_out(rows, np.array([0, 0, 0, 1, 2]))
    half = math.sqrt(0.5)
    assert np.allclose(found, [half, half, half])  # classes 1 and 2 have a row each, and say nothing


def test_no_rows_give_no_scores() -> None:
    assert leave_one_out(np.zeros((0, 4), np.float32), np.zeros(0, np.int64)).shape == (0,)


def test_opposite_rows_are_as_far_as_can_be_and_not_themselves() -> None:
    rows = np.array([[1, 0], [-1, 0]], np.float32)
    assert leave_one_out(rows, np.array([3, 3])).tolist() == [-1, -1]


def test_a_class_of_thousands_is_judged_by_some_of_its_rows() -> None:
    rows = unit_rows(np.random.default_rng(0).normal(size=(3000, 4)).astype(np.float32))
    found = leave_one_out(rows, np.zeros(3000, np.int64))
    assert 100 <= len(found) <= 300
    assert found.min() > 0.8  # in four dimensions, hundreds of rows leave no one alone
