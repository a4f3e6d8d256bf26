"""Configurations that ask for more than any network has: told before anything is allocated, in every format."""

from __future__ import annotations

import json
import resource
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tfjs_files import write_tfjs

from tlc_edge.compiler.toolchain import load_tensorflow
from tlc_edge.compiler.weights.extent import LARGEST_TENSOR, MOST_LAYERS, check_tensors
from tlc_edge.compiler.weights.keras_file import load_keras_file
from tlc_edge.compiler.weights.tfjs import load_tfjs
from tlc_edge.runtime.errors import BuildError

h5py: Any = pytest.importorskip("h5py")
Edit = Callable[[dict[str, Any]], object]


def network() -> Any:
    load_tensorflow()
    import keras

    inner = keras.Sequential([keras.Input((8, 8, 4)), keras.layers.Conv2D(4, 1, name="one")], name="inner")
    image = keras.Input((8, 8, 3), name="image")
    x = inner(keras.layers.Conv2D(4, 3, padding="same", name="conv")(image))
    x = keras.layers.Flatten(name="flat")(keras.layers.ZeroPadding2D(1, name="pad")(x))
    return keras.Model(image, keras.layers.Dense(3, name="dense")(x), name="net")


def written(kind: str, folder: Path, edit: Edit) -> Path:
    """Write a network in one of the formats, and change its configuration."""
    model, path = network(), folder / f"net.{kind}"
    if kind == "json":
        write_tfjs(model, folder / "js")
        path = folder / "js" / "model.json"
        document = json.loads(path.read_text())
        edit(document["modelTopology"]["model_config"])
        path.write_text(json.dumps(document))
        return path
    model.save(path)
    if kind == "h5":
        with h5py.File(path, "r+") as file:
            config = json.loads(file.attrs["model_config"])
            edit(config)
            del file.attrs["model_config"]
            text = json.dumps(config)
            file.attrs.create(
                "model_config", text, dtype=h5py.string_dtype("utf-8", len(text)) if len(text) < 60_000 else None
            )
        return path
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(parts["config.json"])
    edit(config)
    parts["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return path


def load(path: Path) -> Any:
    return (load_tfjs if path.suffix == ".json" else load_keras_file)(path)[0]


def layer(config: Any, name: str) -> Any:
    return next(item for item in config["config"]["layers"] if item["config"]["name"] == name)


def _set(name: str, key: str, value: Any) -> Edit:
    return lambda config: layer(config, name)["config"].update({key: value})


def _many(config: Any) -> None:
    item = layer(config, "inner")
    inside = item["config"]["layers"]
    inside += [{**inside[1], "config": {**inside[1]["config"], "name": f"more{i}"}} for i in range(MOST_LAYERS)]


def _often(config: Any) -> None:
    item = layer(config, "inner")
    item["inbound_nodes"] = item["inbound_nodes"] * (MOST_LAYERS // 3 + 1)


def _deep(config: Any) -> None:
    item = layer(config, "inner")
    for i in range(200):
        item["config"] = {"name": f"n{i}", "layers": [{"class_name": "Sequential", "config": item["config"]}]}


def _large(config: Any) -> None:
    shape = [None, 10**6, 10**6, 3]
    for key in ("batch_shape", "batch_input_shape"):
        if key in layer(config, "image")["config"]:
            layer(config, "image")["config"][key] = shape


CASES: dict[str, tuple[Edit, str]] = {
    "units": (_set("dense", "units", 10**9), "asks for [0-9,]+ parameters, and its weights hold [0-9,]+;"),
    "filters": (_set("conv", "filters", 10**7), "asks for [0-9,]+ parameters|damaged|cannot load it"),
    "kernel": (_set("conv", "kernel_size", [10**5, 10**5]), "asks for [0-9,]+ parameters|damaged|cannot load it"),
    "padding": (
        _set("pad", "padding", [[10**6, 0], [10**6, 0]]),
        "numbers for one image|asks for [0-9,]+ parameters|damaged|cannot load it",
    ),
    "image": (_large, "numbers for one image|asks for [0-9,]+ parameters|damaged|cannot load it"),
    "layers": (_many, "more than 5,000 layers"),
    "uses": (_often, "more than 5,000 layers"),
    "depth": (_deep, "nested too deeply"),
}


@pytest.mark.parametrize("kind", ["keras", "h5", "json"])
@pytest.mark.parametrize("case", CASES)
def test_what_asks_for_too_much_is_told_before_it_is_made(kind: str, case: str, tmp_path: Path) -> None:
    edit, reason = CASES[case]
    try:
        path = written(kind, tmp_path, edit)
    except (OSError, RuntimeError):
        pytest.skip("HDF5 keeps no attribute of that length")
    before, begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with pytest.raises(BuildError, match=reason) as error:
        load(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000
    assert time.process_time() - begun < 60
    assert len(str(error.value)) <= 600


@pytest.mark.parametrize("kind", ["keras", "h5", "json"])
def test_what_is_as_it_was_saved_loads_and_gives_the_same(kind: str, tmp_path: Path) -> None:
    wanted = network()
    generator = np.random.default_rng(3)
    wanted.set_weights([generator.normal(size=w.shape) for w in wanted.get_weights()])
    images = generator.normal(size=(2, 8, 8, 3))
    if kind == "json":
        write_tfjs(wanted, tmp_path / "js")
        path = tmp_path / "js" / "model.json"
    else:
        path = tmp_path / f"net.{kind}"
        wanted.save(path)
    found = load(path)
    np.testing.assert_allclose(found.predict(images, verbose=0), wanted.predict(images, verbose=0), rtol=1e-5)


def test_a_refusal_leaves_nothing_for_the_next_network(tmp_path: Path) -> None:
    with pytest.raises(BuildError):
        load(written("keras", tmp_path, CASES["units"][0]))
    assert network().count_params() < 10_000  # would fail, were the refused one still to get its memory


def test_a_layer_that_gives_just_as_much_as_may_be() -> None:
    load_tensorflow()
    import keras

    side = int(LARGEST_TENSOR**0.5)
    image = keras.Input((side, side, 1))
    check_tensors(keras.Model(image, keras.layers.ReLU()(image)), "net")
    with pytest.raises(BuildError, match="numbers for one image, at most 268,435,456 are computed"):
        check_tensors(keras.Model(image, keras.layers.ZeroPadding2D(1)(image)), "net")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda m: m[0]["paths"].append("shard.bin"), "names its shard 'shard.bin' twice"),
        (lambda m: m[0]["paths"].append("../shard.bin"), "lies outside its folder"),
        (lambda m: m[0]["paths"].append("/etc/hostname"), "lies outside its folder"),
        (lambda m: m[0]["paths"].append("x" * 10_000), "cannot be read|missing"),
        (lambda m: m[0]["paths"].append("pipe"), "pipe: not a file"),
        (lambda m: m[0]["weights"][0].update(shape=[10**9, 10**9]), "too short"),
        (lambda m: m[0]["weights"][0].update(shape=[-1, -(10**9)]), "a damaged one"),
        (lambda m: m[0]["weights"][0].update(shape=["a"]), "a damaged one"),
        (lambda m: m[0]["weights"][0].update(shape=[float("inf")]), "a damaged one"),
        (lambda m: m[0]["weights"].extend(m[0]["weights"]), "too short"),
        (lambda m: m.extend([{}] * 3), "a damaged one"),
    ],
)
def test_lists_of_shards_that_lie(change: Edit, reason: str, tmp_path: Path) -> None:
    import os

    write_tfjs(network(), tmp_path / "js")
    os.mkfifo(tmp_path / "js" / "pipe")
    path = tmp_path / "js" / "model.json"
    document = json.loads(path.read_text())
    change(document["weightsManifest"])
    path.write_text(json.dumps(document))
    with pytest.raises(BuildError, match=reason) as error:
        load(path)
    assert len(str(error.value)) <= 600
