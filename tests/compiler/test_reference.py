from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from small_networks import LABELS, feature_map, floats, small_backbone, small_fused, small_images

from tlc_edge.compiler.backbones import keras_file
from tlc_edge.compiler.backbones.shave import shave
from tlc_edge.compiler.cache.store import FeatureCache
from tlc_edge.compiler.features.reference import is_keras, run_keras
from tlc_edge.compiler.features.trunk_files import TrunkFiles
from tlc_edge.compiler.options import Asked
from tlc_edge.compiler.records import Dense, Fused, Head, Neck
from tlc_edge.runtime.bundle.manifest import Preprocessing


def softmax(x: NDArray[np.float64]) -> NDArray[np.float64]:
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def by_hand(fused: Fused, images: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Work out probabilities and embedding in numpy from the trunk's features."""
    features = feature_map(fused.trunk.model, images)
    x = features
    for layer in fused.head.layers:
        x = x @ layer.kernel + layer.bias
        x = np.maximum(x, 0) if layer.activation == "relu" else softmax(x)
    neck = fused.neck
    return x, features if neck.kernel is None else features @ neck.kernel + neck.bias


@pytest.mark.parametrize("neck", [True, False])
@pytest.mark.parametrize("hidden", [0, 7])
def test_the_graph_is_trunk_head_and_neck(hidden: int, neck: bool) -> None:
    fused, images = small_fused(hidden=hidden, neck=neck), small_images(4)
    outputs, expected = run_keras(fused, images), by_hand(fused, images)
    assert (outputs.probabilities.shape, outputs.embeddings.shape) == ((4, 3), (4, 5 if neck else 12))
    np.testing.assert_allclose(outputs.probabilities, expected[0], atol=1e-5)
    np.testing.assert_allclose(outputs.embeddings, expected[1], atol=1e-4)


def test_without_a_head_there_are_no_probabilities() -> None:
    fused, images = small_fused(labels=()), small_images(4)
    outputs = run_keras(fused, images)
    assert outputs.probabilities.shape == (4, 0)
    np.testing.assert_allclose(outputs.embeddings, by_hand(fused, images)[1], atol=1e-4)


@pytest.mark.parametrize("change", ["nothing", "head", "trunk", "images", "damage"])
def test_the_cache_is_for_the_same_trunk_and_images(tmp_path: Path, change: str) -> None:
    fused, images = small_fused(), small_images(5)
    with FeatureCache(tmp_path) as cache:
        first = run_keras(fused, images, cache=cache)
        ran: list[int] = []
        if change == "head":
            fused = replace(fused, head=small_fused(hidden=7).head)
        elif change == "trunk":
            fused.trunk.model.set_weights([w * 1.5 for w in fused.trunk.model.get_weights()])
        elif change == "images":
            images = images[::-1]
        elif change == "damage":
            cache.put([(key, b"short") for (key,) in sqlite3.connect(cache.path).execute("SELECT key FROM entries")])
        again = run_keras(fused, images, lambda done, _: ran.append(done), cache)
        fresh = run_keras(fused, images)
    assert bool(ran) == (change not in ("nothing", "head"))
    np.testing.assert_array_equal(again.probabilities, fresh.probabilities)
    np.testing.assert_array_equal(again.embeddings, fresh.embeddings)
    assert np.array_equal(again.probabilities, first.probabilities) == (change in ("nothing", "damage"))


def test_run_keras_takes_pixels_in_any_number() -> None:
    fused, images = small_fused(), small_images(35)  # more than two batches, and a rest
    seen: list[tuple[int, int]] = []
    outputs = run_keras(fused, images, lambda done, total: seen.append((done, total)))
    expected = by_hand(fused, images)
    np.testing.assert_allclose(outputs.probabilities, expected[0], atol=1e-5)
    np.testing.assert_allclose(outputs.embeddings, expected[1], atol=1e-4)
    assert seen == [(16, 35), (32, 35), (35, 35)]


def test_what_was_handed_in_stays_as_it_is() -> None:
    trunk, images = shave(small_backbone()), small_images(3)
    before, layers = feature_map(trunk.model, images), len(trunk.model.layers)
    generator = np.random.default_rng(5)
    heads = [Head("linear", (Dense(floats(generator, 12, 3), floats(generator, 3), "softmax"),)) for _ in range(2)]
    first, second = (Fused(trunk, Neck("none", 12), head, LABELS, Preprocessing(8, 8)) for head in heads)
    given = run_keras(first, images).probabilities
    assert not np.allclose(given, run_keras(second, images).probabilities)
    np.testing.assert_array_equal(run_keras(first, images).probabilities, given)
    np.testing.assert_array_equal(feature_map(trunk.model, images), before)
    assert len(trunk.model.layers) == layers
    assert (first.trunk, first.head, first.labels) == (trunk, heads[0], LABELS)


@pytest.mark.parametrize("same", [True, False])
def test_the_float_file_is_the_reference_only_where_it_gives_what_keras_gives(same: bool, tmp_path: Path) -> None:
    files = TrunkFiles(shave(small_backbone()), str(tmp_path))
    files.floats()
    if not same:
        files.trunk.model.set_weights([w * 1.01 for w in files.trunk.model.get_weights()])
    assert is_keras(files, str(tmp_path)) is same
    files.trunk.model.set_weights([w * 1.01 for w in files.trunk.model.get_weights()])
    assert is_keras(files, str(tmp_path)) is same  # as it was found the first time
    assert is_keras(files, "off") is False


@pytest.mark.parametrize("same", [True, False])
def test_a_difference_that_only_a_white_image_shows_is_seen(same: bool, tmp_path: Path) -> None:
    """A channel that answers to white alone: noise leaves it at rest."""
    import keras
    from keras import layers

    image = keras.Input((16, 16, 3))
    network = keras.Model(
        image, layers.Conv2D(2, 1, activation="relu", name="conv")(layers.AveragePooling2D(16)(image))
    )
    white = np.array([[1, 1], [1, 1], [1, 1]], np.float32)[None, None]
    network.get_layer("conv").set_weights([white, np.array([1, -2.95], np.float32)])
    path = tmp_path / "white.keras"
    network.save(path)
    files = TrunkFiles(shave(keras_file.load(str(path), Asked(pixels="0..1")), "conv"), "off")
    files.floats()
    if not same:
        kernel, bias = files.trunk.model.get_weights()
        files.trunk.model.set_weights([kernel, bias + np.array([0, 0.02], np.float32)])
    assert is_keras(files, "off") is same
