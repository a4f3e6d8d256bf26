from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tlc.compiler.golden import COUNT, choose_golden, png
from tlc.runtime.images import load_image
from tlc.runtime.manifest import Preprocessing


def sure(*margins: float) -> np.ndarray:
    """Return probabilities of two classes whose difference is the given margin."""
    return np.array([[(1 + m) / 2, (1 - m) / 2] for m in margins], np.float32)


def test_half_are_the_least_certain_and_half_are_spread() -> None:
    margins = np.random.default_rng(0).permutation(np.linspace(0.01, 0.99, 50))
    chosen = choose_golden(sure(*margins))
    found = np.sort(margins[chosen])
    assert len(chosen) == COUNT == 6
    np.testing.assert_allclose(found[:3], np.sort(margins)[:3])
    assert found[-1] == margins.max()
    assert 0.3 < found[4] < 0.7


def test_the_margin_is_to_the_second_not_to_the_last() -> None:
    probabilities = np.array([[0.5, 0.3, 0.2], [0.45, 0.44, 0.11], [0.6, 0.2, 0.2]], np.float32)
    assert choose_golden(probabilities, 1).tolist() in ([0], [1], [2])
    assert 1 in choose_golden(probabilities, 2)
    assert choose_golden(np.repeat(probabilities, 9, axis=0), 2).tolist()[0] in range(9, 18)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 20), st.integers(0, 5))
def test_each_once_sorted_and_never_more_than_there_are(images: int, classes: int) -> None:
    probabilities = np.random.default_rng(images).dirichlet(np.ones(max(classes, 1)), images)[:, :classes]
    chosen = choose_golden(probabilities.astype(np.float32)).tolist()
    assert chosen == sorted(set(chosen))
    assert len(chosen) == min(images, COUNT)
    assert set(chosen) <= set(range(images))


@pytest.mark.parametrize("channels", [1, 3])
def test_png_loses_nothing(channels: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (9, 7, channels), np.uint8)
    data = png(image)
    assert Image.open(io.BytesIO(data)).format == "PNG"
    np.testing.assert_array_equal(load_image(data, Preprocessing(9, 7, channels)), image)
    assert png(image.copy()) == data
