"""The calibration error: against a count by hand, and what chance makes of it."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from tlc_edge.compiler.study.reliability import BINS, measure_reliability


def stated(values: NDArray[np.float64], right: NDArray[np.bool_]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return probabilities of two classes whose higher one is `values`, and a truth that makes the answers `right`."""
    return np.stack([values, 1 - values], axis=1).astype(np.float32), np.where(right, 0, 1).astype(np.int64)


def test_against_a_count_by_hand() -> None:
    # Four answers at 0.95, three of them right; two at 0.65, both right.
    values = np.array([0.95, 0.95, 0.95, 0.95, 0.65, 0.65])
    found = measure_reliability(*stated(values, np.array([1, 1, 1, 0, 1, 1], bool)))
    assert found.error == pytest.approx(4 / 6 * abs(0.75 - 0.95) + 2 / 6 * abs(1 - 0.65))
    assert found.surplus == pytest.approx(values.mean() - 5 / 6)
    full = {round(b.low, 1): b for b in found.bins if b.images}
    assert {low: b.images for low, b in full.items()} == {0.9: 4, 0.6: 2}
    assert (full[0.9].accuracy, full[0.9].probability) == (0.75, pytest.approx(0.95))
    assert len(found.bins) == BINS


def test_what_chance_explains_and_what_not() -> None:
    generator = np.random.default_rng(5)
    values = generator.uniform(0.5, 1.0, 2000)
    honest = measure_reliability(*stated(values, generator.random(2000) < values))
    boastful = measure_reliability(*stated(values, generator.random(2000) < values - 0.2))
    assert honest.error < 0.04
    assert honest.error < 1.3 * honest.chance
    assert boastful.error == pytest.approx(0.2, abs=0.04)
    assert boastful.error > 3 * boastful.chance
    assert boastful.surplus > 0.15
    modest = measure_reliability(*stated(values, np.ones(2000, bool)))
    assert modest.surplus < -0.2
    # The fewer images, the more chance explains.
    few = measure_reliability(*stated(values[:20], np.ones(20, bool)))
    assert few.chance > 3 * honest.chance


@pytest.mark.parametrize("value", [1.0, 1.0 + 1e-6, 0.5])
def test_one_image_at_the_edge_of_a_bin(value: float) -> None:
    probabilities = np.array([[value, 0.0]], np.float32)
    found = measure_reliability(probabilities, np.array([0]))
    assert sum(b.images for b in found.bins) == 1
    assert found.error == pytest.approx(1 - min(value, 1.0))
    again = measure_reliability(probabilities, np.array([0]))
    assert again == found


def test_many_classes() -> None:
    probabilities = np.full((50, 40), 0.3 / 39, np.float32)
    probabilities[np.arange(50), np.arange(50) % 40] = 0.7
    found = measure_reliability(probabilities, np.arange(50) % 40)
    assert found.error == pytest.approx(0.3)
