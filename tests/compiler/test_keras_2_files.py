"""Files of Keras 2: `.keras`, whose weights are named by the kinds of their layers; names with slashes in any form."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tlc_edge.compiler.backbones.find import load_backbone
from tlc_edge.compiler.backbones.shave import shave
from tlc_edge.compiler.toolchain import load_tensorflow
from tlc_edge.compiler.weights.keras_weights import load_weights
from tlc_edge.runtime.errors import LONGEST, BuildError

IMAGES = np.random.default_rng(0).integers(0, 256, (2, 12, 10, 3)).astype(np.float32)


@pytest.fixture(scope="module", autouse=True)
def _tensorflow() -> None:
    load_tensorflow()


def network() -> Any:
    """Return a network with layers of one kind and shape at several depths, and a model in it."""
    from keras import Input, Model, Sequential, layers

    start = Input((12, 10, 3), name="pixels")
    x = layers.Rescaling(1 / 127.5, -1.0, name="scale")(start)
    inner = [layers.Conv2D(3, 1, name=f"i{n}") for n in range(2)]
    inner += [layers.BatchNormalization(name="norm"), layers.DepthwiseConv2D(3, name="d")]
    x = Sequential([Input((12, 10, 3)), *inner], name="inner")(x)
    one, two = layers.Conv2D(3, 1, name="c1")(x), layers.Conv2D(3, 1, name="c2")(x)
    x = layers.SeparableConv2D(4, 3, name="s")(layers.Add(name="sum")([one, layers.ReLU(name="r")(two)]))
    model = Model(start, layers.Conv2D(4, 1, name="last")(x))
    generator = np.random.default_rng(1)
    for v in model.weights:
        v.assign(generator.uniform(0.5, 2, v.shape) if "variance" in v.name else generator.normal(0, 0.5, v.shape))
    return model


SLASHES = {"c1": "conv1/conv", "i1": "block/1/conv", "r": "conv1/relu"}


def as_keras_2(model: Any, path: Path, names: dict[str, str] | None = None, **put: bytes) -> None:
    """Save a network as Keras 2 lays it out, with other names of layers."""
    model.save(path)
    with zipfile.ZipFile(path) as archive:
        parts = {n: archive.read(n) for n in archive.namelist()}
    text = parts["config.json"].decode()
    for old, new in (names or {}).items():
        text = text.replace(f'"{old}"', f'"{new}"')
    # Lists too have objects around them in Keras 3, and layers the modules of theirs.
    parts["config.json"] = text.replace('"keras.layers"', '"tf_keras.layers"').encode()
    parts["metadata.json"] = json.dumps({"keras_version": "2.15.0", "date_saved": "2024-01-01@00:00:00"}).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in (parts | put).items():
            archive.writestr(name, data)


def close(backbone: Any, want: Any) -> None:
    got = np.asarray(backbone.model((IMAGES - backbone.input.mean) / backbone.input.std, training=False))
    np.testing.assert_allclose(got, want, atol=1e-5 * np.abs(want).max())


@pytest.mark.parametrize("names", [{}, SLASHES])
def test_every_layer_gets_its_own_weights(tmp_path: Path, names: dict[str, str]) -> None:
    model = network()
    as_keras_2(model, tmp_path / "net.keras", names)
    close(load_backbone(str(tmp_path / "net.keras")), np.asarray(model(IMAGES, training=False)))


def test_a_file_of_keras_2_with_code_is_refused_in_a_sentence(tmp_path: Path) -> None:
    as_keras_2(network(), tmp_path / "net.keras")
    with zipfile.ZipFile(tmp_path / "net.keras") as archive:
        text = archive.read("config.json").decode().replace('"class_name": "Add"', '"class_name": "Lambda"')
    as_keras_2(network(), tmp_path / "net.keras", None, **{"config.json": text.encode()})
    with pytest.raises(BuildError, match="layer sum is a Lambda, which carries code") as told:
        load_backbone(str(tmp_path / "net.keras"))
    assert len(str(told.value)) <= LONGEST


def test_weights_of_another_network_are_told_by_the_layer(tmp_path: Path) -> None:
    as_keras_2(network(), tmp_path / "net.keras")
    with zipfile.ZipFile(tmp_path / "net.keras") as archive:
        text = archive.read("config.json").decode().replace('"filters": 4', '"filters": 5')
    as_keras_2(network(), tmp_path / "net.keras", None, **{"config.json": text.encode()})
    with pytest.raises(BuildError, match=r"layer s has weights .*, and needs .*; save the network as \.h5"):
        load_backbone(str(tmp_path / "net.keras"))


def test_a_name_with_slashes_is_the_layer_s_for_a_cut_too(tmp_path: Path) -> None:
    import h5py
    from keras import Model

    model, path = network(), tmp_path / "net.h5"
    want = np.asarray(Model(model.input, model.get_layer("r").output)(IMAGES, training=False)).mean((1, 2))
    model.save(path)
    with h5py.File(path, "r+") as file:
        text, weights = str(file.attrs["model_config"]), file["model_weights"]
        listed = [n.decode() if isinstance(n, bytes) else str(n) for n in weights.attrs["layer_names"]]
        for old, new in (("c1", "conv1/conv"), ("r", "conv1/relu")):
            text = text.replace(f'"{old}"', f'"{new}"')
            if old == "c1":
                del weights[old]
                filed = ("kernel", "bias")
                for name, array in zip(filed, model.get_layer(old).get_weights(), strict=True):
                    weights[f"{new}/{new}/{name}:0"] = array
                weights[new].attrs["weight_names"] = [f"{new}/{name}:0" for name in filed]
        weights.attrs["layer_names"] = ["conv1/conv" if n == "c1" else "conv1/relu" if n == "r" else n for n in listed]
        file.attrs["model_config"] = text
        file.attrs["keras_version"] = "2.15.0"
    backbone = load_backbone(str(path))
    for name in ("conv1/relu", "conv1.relu"):
        trunk = shave(backbone, name)
        x = (IMAGES - backbone.input.mean) / backbone.input.std
        np.testing.assert_allclose(np.asarray(trunk.model(x, training=False)), want, atol=1e-5 * np.abs(want).max())


@pytest.mark.parametrize(
    "kind", ["QuantizeLayer", "QuantizeWrapperV2", "tensorflow_model_optimization>QuantizeWrapper"]
)
@pytest.mark.parametrize("form", ["net.keras", "net.h5"])
def test_a_quantization_aware_network_is_named_as_that(tmp_path: Path, form: str, kind: str) -> None:
    import h5py

    path = tmp_path / form
    if form == "net.h5":
        network().save(path)
        with h5py.File(path, "r+") as file:
            file.attrs["model_config"] = str(file.attrs["model_config"]).replace('"Add"', f'"{kind}"')
    else:
        as_keras_2(network(), path)
        with zipfile.ZipFile(path) as archive:
            text = archive.read("config.json").decode().replace('"class_name": "Add"', f'"class_name": "{kind}"')
        as_keras_2(network(), path, None, **{"config.json": text.encode()})
    with pytest.raises(BuildError, match=r"a quantization-aware network .* as it was before quantize_model"):
        load_backbone(str(path))


def test_weights_alone_are_taken_from_a_file_of_keras_2(tmp_path: Path) -> None:
    model, blank = network(), network()
    as_keras_2(model, tmp_path / "net.keras", SLASHES)
    for v in blank.weights:
        v.assign(np.zeros(v.shape))
    load_weights(blank, tmp_path / "net.keras")
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), blank.get_weights(), strict=True))


def test_the_first_part_of_a_network_takes_its_weights_from_the_whole(tmp_path: Path) -> None:
    from keras import Model

    whole, blank = network(), network()
    part = Model(blank.input, blank.get_layer("s").output)
    as_keras_2(whole, tmp_path / "net.keras")
    for v in part.weights:
        v.assign(np.zeros(v.shape))
    with pytest.raises(BuildError, match="neither their order nor their names make them alike"):
        load_weights(part, tmp_path / "net.keras")
    load_weights(part, tmp_path / "net.keras", more=True)
    assert np.array_equal(part.get_layer("s").get_weights()[0], whole.get_layer("s").get_weights()[0])


def test_weights_of_keras_2_for_another_network_are_refused(tmp_path: Path) -> None:
    from keras import Input, Model, layers

    as_keras_2(network(), tmp_path / "net.keras")
    start = Input((12, 10, 3))
    other = Model(start, layers.Conv2D(3, 1, name="c1")(layers.Conv2D(3, 3, name="mine")(start)))
    for more in (False, True):
        with pytest.raises(BuildError, match="it is of another network"):
            load_weights(other, tmp_path / "net.keras", more=more)
