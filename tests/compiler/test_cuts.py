"""Networks that flatten into dense layers: which cuts there are, and which one the images choose."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tlc_edge.compiler.backbones.adopt import adopt
from tlc_edge.compiler.backbones.cuts import Cut, cuts_of
from tlc_edge.compiler.data.records import Sample
from tlc_edge.compiler.options import Asked
from tlc_edge.compiler.records import Backbone, Provenance
from tlc_edge.compiler.study.cuts import choose_cut, cross_validate
from tlc_edge.compiler.toolchain import load_tensorflow


@pytest.fixture(scope="module", autouse=True)
def _tensorflow() -> None:
    load_tensorflow()


def backbone(*top: Callable[[], Any], seed: int = 1) -> Backbone:
    """Return a network of one convolution with these layers after it."""
    import keras
    from keras import Input, Sequential, layers

    keras.utils.set_random_seed(seed)
    first = [Input((12, 12, 1)), layers.Conv2D(6, 3, activation="relu", name="map")]
    model = Sequential([*first, *(make() for make in top)])
    return adopt("net", model, Asked(pixels="0..1"), Provenance("made for a test", "0" * 64, "none", "nothing"))


def layer(kind: str, *args: Any, **more: Any) -> Callable[[], Any]:
    def make() -> Any:
        from keras import layers

        return getattr(layers, kind)(*args, **more)

    return make


FLAT = layer("Flatten", name="flat")
TOP = layer("Dense", 4, "softmax", name="top")


def test_the_dense_layers_before_the_last_and_the_whole_map_are_compared_with_the_average() -> None:
    one, two = layer("Dense", 16, "relu", name="one"), layer("Dense", 8, name="two")
    act = layer("ReLU", name="act")
    made = backbone(FLAT, one, layer("Dropout", 0.5), two, layer("BatchNormalization", name="norm"), act, TOP)
    assert cuts_of(made) == (Cut("map"), Cut("one"), Cut("act"), Cut("map", "flatten"))


def test_a_network_that_averages_has_one_cut() -> None:
    average = layer("GlobalAveragePooling2D", name="average")
    assert cuts_of(backbone(average, layer("Dense", 16, "relu"), TOP)) == (Cut("map"),)


def test_a_network_that_flattens_into_its_classifier_has_the_whole_map_to_choose() -> None:
    assert cuts_of(backbone(FLAT, TOP)) == (Cut("map"), Cut("map", "flatten"))


def test_logits_without_a_softmax_are_no_cut() -> None:
    made = backbone(FLAT, layer("Dense", 16, "relu", name="one"), layer("Dense", 4, name="logits"))
    assert cuts_of(made) == (Cut("map"), Cut("one"), Cut("map", "flatten"))


def test_dense_layers_that_would_outweigh_the_network_are_left_out() -> None:
    huge = [layer("Dense", 4000, "relu", name="huge"), layer("Dense", 8, "relu", name="after")]
    assert cuts_of(backbone(FLAT, *huge, TOP)) == (Cut("map"), Cut("map", "flatten"))


def corners(count: int) -> list[Sample]:
    """Return pictures of one spot, each class with its own corner for it."""
    generator = np.random.default_rng(3)
    found: list[Sample] = []
    for i in range(count):
        image = generator.integers(0, 90, (12, 12, 1), dtype=np.uint8)
        corner = i % 4
        image[1 + 6 * (corner // 2) : 5 + 6 * (corner // 2), 1 + 6 * (corner % 2) : 5 + 6 * (corner % 2)] += 120
        found.append(Sample(image, f"corner {corner}", None, f"{i}.png"))
    return found


def test_where_things_are_is_kept_if_that_is_what_tells_the_classes_apart() -> None:
    trunk, why = choose_cut(backbone(FLAT, TOP), corners(80), seed=0, cache="off")
    assert (trunk.layer, trunk.pool, trunk.width) == ("map", "flatten", 600)
    assert why is not None
    assert (
        "cut at map flattened (600 features) 1.000 (0.954 to 1.000), by 5-fold cross-validation on 80 training" in why
    )
    assert "the others: map averaged (6 features) 0." in why


def greys(count: int) -> list[Sample]:
    """Return pictures that any cut tells apart."""
    generator = np.random.default_rng(4)
    make = generator.integers
    made = [(make(0, 60, (12, 12, 1)) + 190 * (i % 2)).astype(np.uint8) for i in range(count)]
    return [Sample(image, "light" if i % 2 else "dark", None, f"{i}.png") for i, image in enumerate(made)]


def test_the_default_stays_where_nothing_is_better() -> None:
    trunk, why = choose_cut(backbone(FLAT, TOP), greys(40), seed=0, cache="off")
    assert (trunk.layer, trunk.pool) == ("map", "avg")
    assert why is not None
    assert why.startswith("cut at map averaged (6 features) 1.000")


def test_too_few_images_to_hold_one_out_choose_nothing() -> None:
    trunk, why = choose_cut(backbone(FLAT, TOP), corners(4), seed=0, cache="off")
    assert (trunk.pool, why) == ("avg", None)


def test_images_of_one_picture_are_held_out_together() -> None:
    generator = np.random.default_rng(0)
    features = generator.normal(size=(40, 30)).astype(np.float32)
    twice = np.repeat(features[:20], 2, axis=0)  # noise: only a twin in training can be known
    targets, groups = np.repeat(np.arange(20) % 2, 2), np.repeat(np.arange(20), 2)
    together, apart = cross_validate(twice, targets, groups, 2, 0), cross_validate(twice, targets, np.arange(40), 2, 0)
    assert together is not None
    assert apart is not None
    assert apart[0] == 40 > together[0] + 8
