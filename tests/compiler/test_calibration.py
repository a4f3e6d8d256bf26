from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlc_edge.compiler.data.calibration_set import choose_calibration


def targets_of(*counts: int) -> np.ndarray:
    return np.repeat(np.arange(len(counts)), counts)


def per_class(targets: np.ndarray, chosen: np.ndarray) -> dict[int, int]:
    return dict(Counter(targets[chosen].tolist()))


def test_classes_count_alike_whatever_their_size() -> None:
    targets = targets_of(100, 10, 40)
    assert per_class(targets, choose_calibration(targets, np.arange(150), 30, 0)) == {0: 10, 1: 10, 2: 10}


def test_what_a_small_class_lacks_the_others_give() -> None:
    targets = targets_of(100, 2, 40)
    assert per_class(targets, choose_calibration(targets, np.arange(142), 30, 0)) == {0: 14, 1: 2, 2: 14}


def test_only_training_images_are_taken() -> None:
    targets = targets_of(10, 10)
    train = np.array([1, 3, 5, 12, 14, 16])
    assert set(choose_calibration(targets, train, 4, 0).tolist()) < set(train.tolist())
    assert sorted(choose_calibration(targets, train, 100, 0).tolist()) == train.tolist()


def test_the_seed_decides() -> None:
    targets = targets_of(50, 50)
    first, again, other = (choose_calibration(targets, np.arange(100), 20, seed).tolist() for seed in (1, 1, 2))
    assert first == again
    assert first != other


@pytest.mark.parametrize("count", [0, 1, 3])
def test_fewer_than_classes(count: int) -> None:
    targets = targets_of(5, 5, 5, 5)
    chosen = choose_calibration(targets, np.arange(20), count, 0)
    assert (chosen.dtype, len(chosen)) == (np.int64, count)
    assert max(per_class(targets, chosen).values(), default=1) == 1


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=5), st.integers(0, 70), st.integers(0, 2**32 - 1))
def test_as_many_as_asked_each_once(counts: list[int], count: int, seed: int) -> None:
    targets = targets_of(*counts)
    chosen = choose_calibration(targets, np.arange(len(targets)), count, seed).tolist()
    assert len(chosen) == len(set(chosen)) == min(count, len(targets))
