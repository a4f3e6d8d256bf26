"""Arithmetic on the image before the first convolution: part of the input, wherever and however it is written down."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tfjs_files import write_tfjs

from tlc_edge.compiler.backbones.find import load_backbone
from tlc_edge.compiler.network.fold import fold
from tlc_edge.compiler.network.pixels import PIXELS
from tlc_edge.compiler.options import Asked
from tlc_edge.compiler.toolchain import load_tensorflow
from tlc_edge.runtime.errors import BuildError

IMAGES = np.random.default_rng(0).integers(0, 256, (2, 12, 10, 3)).astype(np.float32)
MEAN = np.array([103.0, 116.0, 123.0], np.float32)
Steps = Callable[[Any], Any]


@pytest.fixture(scope="module", autouse=True)
def _tensorflow() -> None:
    load_tensorflow()


def preprocess(mode: str) -> Steps:
    def run(x: Any) -> Any:
        from keras.applications.imagenet_utils import preprocess_input

        return preprocess_input(x, mode=mode)

    return run


def joined(x: Any) -> Any:
    from keras import layers

    return layers.Concatenate()([x[..., 2:3] / 255.0, x[..., 1:2] / 255.0, x[..., 0:1] / 255.0])


def flipped(x: Any) -> Any:
    from keras import ops

    return ops.flip(x, axis=-1) - MEAN


def cast(x: Any) -> Any:
    from keras import ops

    return ops.cast(ops.cast(x, "float32") / 127.5 - 1, "float32")


TAKEN_IN: dict[str, Steps] = {
    "tf": preprocess("tf"),
    "torch": preprocess("torch"),
    "caffe": preprocess("caffe"),
    "reversed": lambda x: x[..., ::-1] - MEAN,
    "flipped": flipped,
    "joined": joined,
    "cast": cast,
    "from a constant": lambda x: 1 - x / 255,
    "negative": lambda x: -x / 64 + 1.5,
}
# Exact, but in the graph: the input's contract has no words for it.
LEFT: dict[str, Steps] = {
    "of each place": lambda x: x / 64 - np.linspace(0, 1, 360, dtype=np.float32).reshape(12, 10, 3),
    "mixed": lambda x: x[..., 1:] / 64,
    "read twice": lambda x: abs(x / 64) + x / 255,
}


def network(steps: Steps, **more: Any) -> Any:
    import keras
    from keras import Input, Model, layers

    keras.utils.set_random_seed(1)
    start = Input((12, 10, 3))
    x = layers.Conv2D(4, 3, padding="same", activation="relu", **more)(steps(start))
    return Model(start, layers.Conv2D(5, 3)(x))


def close(backbone: Any, want: Any) -> None:
    got = np.asarray(backbone.model((IMAGES - backbone.input.mean) / backbone.input.std, training=False))
    np.testing.assert_allclose(got, want, atol=1e-5 * np.abs(want).max())


@pytest.mark.parametrize("name", [*TAKEN_IN, *LEFT])
def test_it_is_folded_where_it_can_be_and_exact_everywhere(name: str) -> None:
    model = network({**TAKEN_IN, **LEFT}[name])
    folded = fold(model, PIXELS["0..255"])
    close(folded, np.asarray(model(IMAGES)))
    steps = {type(step).__name__ for step in folded.model.operations}
    plain = {"InputLayer", "Conv2D", "DepthwiseConv2D", "FurtherChannel"}
    assert (steps <= plain) == (name in TAKEN_IN)
    assert folded.input.std > 0


@pytest.mark.parametrize("form", ["net.keras", "net.h5", "tfjs"])
@pytest.mark.parametrize("name", ["tf", "torch", "caffe", "reversed", "flipped", "cast", "from a constant"])
def test_in_a_file_it_says_what_pixels_the_network_takes(tmp_path: Path, name: str, form: str) -> None:
    model = network(TAKEN_IN[name])
    path = tmp_path / form
    write_tfjs(model, path) if form == "tfjs" else model.save(path)
    close(load_backbone(str(path)), np.asarray(model(IMAGES)))


def move(x: Any) -> Any:
    from keras import layers

    return layers.Rescaling(1 / 255)(layers.Resizing(12, 10)(x))


def test_what_moves_the_image_before_it_makes_no_difference(tmp_path: Path) -> None:
    model = network(move)
    model.save(tmp_path / "net.keras")
    close(load_backbone(str(tmp_path / "net.keras")), np.asarray(model(IMAGES)))


@pytest.mark.parametrize("steps", [lambda x: x * 2 - 1, lambda x: x - 0.5, lambda x: abs(x) / 255])
def test_other_arithmetic_is_asked_about_and_never_guessed(tmp_path: Path, steps: Steps) -> None:
    """Twice a pixel less one is from 0..1 to -1..1, most likely; but the file does not say so."""
    model = network(steps)
    model.save(tmp_path / "net.keras")
    with pytest.raises(BuildError, match=r"does not say what pixels it takes; name them, --pixels -1\.\.1, 0\.\.1"):
        load_backbone(str(tmp_path / "net.keras"))
    close(load_backbone(str(tmp_path / "net.keras"), Asked(pixels="0..1")), np.asarray(model(IMAGES / 255)))


# --- as Keras 2 writes it


def call(layer: str, function: str, source: Any, /, **kwargs: Any) -> dict[str, Any]:
    kind = "SlicingOpLambda" if "getitem" in function else "TFOpLambda"
    node = [*source, kwargs] if isinstance(source, list) else [source, 0, 0, kwargs]
    config = {"name": layer, "trainable": True, "dtype": "float32", "function": function}
    return {"class_name": kind, "config": config, "name": layer, "inbound_nodes": [[node]]}


WHOLE = {"start": None, "stop": None, "step": None}
TURNED = [{"class_name": "__ellipsis__"}, {**WHOLE, "step": -1}]
KERAS_2: dict[str, tuple[list[dict[str, Any]], Callable[[Any], Any]]] = {
    "tf": (
        [call("a", "math.truediv", "pixels", y=127.5, name=None), call("b", "math.subtract", "a", y=1.0, name=None)],
        lambda x: x / 127.5 - 1,
    ),
    "caffe": (
        [
            call("a", "__operators__.getitem", "pixels", slice_spec=TURNED),
            call("b", "nn.bias_add", "a", bias=[-103.0, -116.0, -123.0], data_format="channels_last"),
        ],
        lambda x: x[..., ::-1] - MEAN,
    ),
    "from a constant": (
        [
            call("a", "math.multiply", "pixels", y=1 / 255),
            call("b", "math.subtract", ["_CONSTANT_VALUE", -1, 1.0], y=["a", 0, 0]),
        ],
        lambda x: 1 - x / 255,
    ),
    "cast": (
        [call("a", "cast", "pixels", dtype="float32"), call("b", "__operators__.add", "a", y=-128.0)],
        lambda x: x - 128,
    ),
    "two tensors": (
        [call("a", "math.truediv", "pixels", y=255.0), call("b", "math.add", "a", y=["a", 0, 0])],
        lambda x: x / 255 * 2,
    ),
}


def as_keras_2(tmp_path: Path, calls: list[dict[str, Any]]) -> tuple[Path, Any]:
    """Return a `.h5` of Keras 2 with these calls before two convolutions, and the network without them."""
    import h5py

    model = network(lambda x: x, name="c1")
    path = tmp_path / "net.h5"
    model.save(path)
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        first, *rest = config["config"]["layers"]
        old = first["config"]["name"]
        first["config"]["name"] = first["name"] = "pixels"
        text = json.dumps(rest).replace(f'"{old}"', f'"{calls[-1]["name"]}"')
        config["config"]["layers"] = [first, *calls, *json.loads(text)]
        config["config"]["input_layers"] = ["pixels", 0, 0]
        file.attrs["model_config"] = json.dumps(config)
        file.attrs["keras_version"] = "2.15.0"
    return path, model


@pytest.mark.parametrize("name", KERAS_2)
def test_functions_of_tensorflow_are_data(tmp_path: Path, name: str) -> None:
    calls, steps = KERAS_2[name]
    path, model = as_keras_2(tmp_path, calls)
    asked = Asked(pixels="0..255") if name == "two tensors" else Asked()
    close(load_backbone(str(path), asked), np.asarray(model(steps(IMAGES))))


def test_keras_2_counts_the_making_of_a_model_as_its_first_use(tmp_path: Path) -> None:
    import h5py
    from keras import Input, Model, Sequential, layers

    inner = Sequential([Input((12, 10, 3)), layers.Conv2D(3, 3, padding="same")], name="inner")
    start = Input((12, 10, 3))
    once = inner(start / 255.0)
    model = Model(start, layers.Conv2D(2, 1)(layers.Add()([inner(once), once])))
    path = tmp_path / "net.h5"
    model.save(path)
    with h5py.File(path, "r+") as file:
        text = file.attrs["model_config"].replace('["inner", 1, 0]', '["inner", 2, 0]')
        assert '["inner", 2, 0]' in text
        file.attrs["model_config"] = text.replace('["inner", 0, 0]', '["inner", 1, 0]')
    close(load_backbone(str(path)), np.asarray(model(IMAGES)))


@pytest.mark.parametrize("function", ["io.read_file", "py_function", "numpy_function", "keras.utils.get_file"])
def test_other_functions_are_refused_by_name(tmp_path: Path, function: str) -> None:
    path, _ = as_keras_2(tmp_path, [call("a", function, "pixels", y=1.0)])
    with pytest.raises(BuildError, match=rf"a calls tf\.{function}, .* refused without calling it"):
        load_backbone(str(path))
