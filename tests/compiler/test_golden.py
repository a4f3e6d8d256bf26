from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tlc_edge.compiler.bundle.test_card import draw_card
from tlc_edge.compiler.verify.golden import COUNT, choose_golden, png
from tlc_edge.runtime.bundle.manifest import Preprocessing
from tlc_edge.runtime.images.load import load_image


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


def test_each_boundary_and_each_class_has_its_image_where_there_are_as_many() -> None:
    rng = np.random.default_rng(3)
    best = rng.integers(0, 4, 400)
    probabilities = np.full((400, 4), 0.02)
    margin = rng.random(400) * 0.9
    probabilities[np.arange(400), best] = 0.5 + margin / 2
    probabilities[np.arange(400), (best + 1) % 4] = 0.5 - margin / 2
    chosen = choose_golden(probabilities.astype(np.float32))
    sharp, clear = chosen[margin[chosen] < 0.1], chosen[margin[chosen] >= 0.1]
    assert len(sharp) == len(clear) == 3
    assert len(set(best[sharp])) == 3  # one a boundary, though the three least certain may all lie at one
    assert len(set(best[clear])) == 3


@pytest.mark.parametrize(("height", "width"), [(224, 224), (28, 28), (96, 160), (1, 1)])
def test_the_card_is_the_same_each_time_and_larger_than_the_input(height: int, width: int) -> None:
    card = draw_card(height, width)
    assert card.dtype == np.uint8
    assert card.shape[0] > 2 * height - 1
    assert card.shape[1] > 2 * width - 1
    np.testing.assert_array_equal(card, draw_card(height, width))
    assert len(png(card)) < 10_000


def test_the_card_has_another_colour_at_each_edge_and_many_levels() -> None:
    card = draw_card(224, 224)
    edges = [card[0, 300], card[-1, 300], card[200, 0], card[200, -1]]
    assert len({tuple(c) for c in edges}) == 4
    assert all(len(np.unique(card[..., i])) >= 120 for i in range(3))


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
