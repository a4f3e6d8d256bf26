"""Weights from files into networks, by the names and the order that the files have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tlc_edge.compiler.toolchain import load_tensorflow
from tlc_edge.compiler.weights.keras_weights import load_weights
from tlc_edge.runtime.errors import BuildError


@pytest.fixture(scope="module", autouse=True)
def _tensorflow() -> None:
    load_tensorflow()


def many(seed: int, prefix: str | None = None) -> Any:
    """Return a network of 13 convolutions, 12 of one shape; HDF5 sorts number 10 before number 2."""
    import keras
    from keras import layers

    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    x = start = layers.Input((8, 8, 3))
    for index in range(13):
        x = layers.Conv2D(4, 1, name=None if prefix is None else f"{prefix}{index}")(x)
    return keras.Model(start, x)


def same(a: Any, b: Any) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a.get_weights(), b.get_weights(), strict=True))


@pytest.mark.parametrize("file", ["net.weights.h5", "net.keras", "net.h5"])
@pytest.mark.parametrize("prefix", [None, "layer_"])
def test_every_layer_gets_its_own_weights(tmp_path: Path, file: str, prefix: str | None) -> None:
    original, model = many(1, prefix), many(2, prefix)
    path = tmp_path / file
    original.save_weights(path) if "weights" in file else original.save(path)
    assert not same(model, original)
    load_weights(model, path)
    assert same(model, original)


def test_other_names_are_taken_in_the_order_that_the_file_says(tmp_path: Path) -> None:
    original, model = many(1, "theirs_"), many(2, "mine_")
    original.save(tmp_path / "net.h5")
    load_weights(model, tmp_path / "net.h5")
    assert same(model, original)


def test_an_order_that_the_file_does_not_say_is_not_guessed(tmp_path: Path) -> None:
    original, model = many(1), many(2)
    original.save_weights(tmp_path / "net.weights.h5")
    renamed = (tmp_path / "net.weights.h5").rename(tmp_path / "net.h5")
    with pytest.raises(BuildError, match=r"nor say in which order they come; .* end in \.weights\.h5"):
        load_weights(model, renamed)
    assert same(model, many(2))


@pytest.mark.parametrize("file", ["net.weights.h5", "net.keras"])
def test_links_to_other_files_are_refused_before_keras_sees_them(tmp_path: Path, file: str) -> None:
    import zipfile

    import h5py

    weights = tmp_path / "net.weights.h5"
    many(1).save_weights(weights)
    with h5py.File(weights, "r+") as opened:
        del opened["layers/conv2d/vars/0"]
        opened["layers/conv2d/vars/0"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/kernel")
    if file == "net.keras":
        with zipfile.ZipFile(tmp_path / file, "w") as archive:
            archive.write(weights, "model.weights.h5")
    with pytest.raises(BuildError, match="is a link to another place or file; it was refused"):
        load_weights(many(2), tmp_path / file)


def test_weights_of_another_network(tmp_path: Path) -> None:
    from keras import Sequential, layers

    Sequential([layers.Input((8, 8, 3)), layers.Conv2D(5, 1)]).save_weights(tmp_path / "net.weights.h5")
    with pytest.raises(BuildError, match=r"not the weights of this network \("):
        load_weights(many(2), tmp_path / "net.weights.h5")
    (tmp_path / "net.keras").write_bytes(b"PK\x05\x06" + b"\0" * 18)
    with pytest.raises(BuildError, match=r"not a \.keras file, or a damaged one"):
        load_weights(many(2), tmp_path / "net.keras")


@pytest.mark.parametrize("file", ["net.weights.h5", "net.keras"])
def test_layers_too_many_are_not_passed_over(tmp_path: Path, file: str) -> None:
    from keras import Sequential, layers

    original = many(1)
    original.compile("adam", "mse")
    original.fit(np.zeros((1, 8, 8, 3)), np.zeros((1, 8, 8, 4)), verbose=0)
    path = tmp_path / file
    original.save_weights(path) if "weights" in file else original.save(path)
    # Keras would give these the weights of the first twelve, whichever they are meant to be.
    inner = [layers.Conv2D(4, 1) for _ in range(12)]
    shorter = Sequential([layers.Input((8, 8, 3)), *inner])
    with pytest.raises(BuildError, match=r"has 26 arrays, the network needs 24, .* cut it with --shave"):
        load_weights(shorter, path)
    load_weights(shorter, path, more=True)
    assert all(np.array_equal(x, y) for x, y in zip(shorter.get_weights(), original.get_weights()[:24], strict=True))
    first = many(2)
    load_weights(first, path)  # what the optimizer keeps is not counted
    assert same(first, original)
