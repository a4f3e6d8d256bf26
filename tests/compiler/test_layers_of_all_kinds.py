"""Keras networks with layers that are seldom seen: by way of a file, and in both formats."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tlc_edge.compiler.backbones.find import load_backbone
from tlc_edge.compiler.backbones.shave import shave
from tlc_edge.compiler.lower.onnx_lower import lower_trunk_onnx
from tlc_edge.compiler.lower.tflite_lower import lower_trunk_tflite
from tlc_edge.compiler.options import Asked
from tlc_edge.compiler.toolchain import load_tensorflow
from tlc_edge.runtime.engines.onnx_engine import OnnxEngine
from tlc_edge.runtime.engines.tflite_engine import TfliteEngine
from tlc_edge.runtime.errors import BuildError

DRAW = np.random.default_rng(3)
IMAGES = (DRAW.integers(0, 190, (4, 1, 1, 3)) + DRAW.integers(0, 66, (4, 12, 14, 3))).astype(np.uint8)
Steps = Callable[[Any], Any]


@pytest.fixture(scope="module", autouse=True)
def _tensorflow() -> None:
    load_tensorflow()


def layer(kind: str, *args: Any, **more: Any) -> Steps:
    def made(x: Any) -> Any:
        from keras import layers

        return getattr(layers, kind)(*args, **more)(x)

    return made


def network(middle: Steps, before: Steps = lambda x: x) -> Any:
    """Return a network with `before` the pixels are normalised, and `middle` between two convolutions."""
    from keras import Input, Model, layers, utils

    utils.set_random_seed(4)
    image = Input((12, 14, 3))
    x = layers.Conv2D(8, 3)(layers.Rescaling(1 / 64, -2.0)(before(image)))
    return Model(image, layers.Conv2D(4, 1, name="last")(middle(x)))


def loaded(model: Any, folder: Path, form: str) -> Any:
    """Return a network by way of a file, held against the one that was saved."""
    model.save(folder / form)
    backbone = load_backbone(str(folder / form), Asked(pixels="0..255"))
    spec = backbone.input
    found = np.asarray(backbone.model((IMAGES.astype(np.float32) - spec.mean) / spec.std, training=False))
    wanted = np.asarray(model(IMAGES.astype(np.float32), training=False))
    np.testing.assert_allclose(found, wanted, atol=1e-5 * np.abs(wanted).max())
    return backbone


def lowered(backbone: Any, kind: str, scheme: str) -> Any:
    """Return features of a lowered trunk, and those of the trunk in Keras."""
    trunk, spec = shave(backbone), backbone.input
    if kind == "tflite":
        data = lower_trunk_tflite(trunk, scheme, IMAGES).data
        engine: Any = TfliteEngine("litert", "ai_edge_litert.interpreter", data, 1, ["features"])
    else:
        data = lower_trunk_onnx(trunk, scheme, IMAGES).data
        engine = OnnxEngine("onnxruntime", "onnxruntime", data, 1, ["features"])
    wanted = trunk.model((IMAGES.astype(np.float32) - spec.mean) / spec.std, training=False)
    return np.stack([np.asarray(engine.run(image)[0]) for image in IMAGES]), np.asarray(wanted)


def augmented(x: Any) -> Any:
    from keras import layers

    kinds: dict[str, Any] = {
        **dict.fromkeys(("RandomHue", "RandomSaturation", "RandomGrayscale", "RandomSharpness", "RandomInvert"), 0.3),
        **dict.fromkeys(("RandomErasing", "RandomColorDegeneration", "RandomPosterization"), 0.3),
        "RandomPosterization": 4,
    }
    for kind, factor in kinds.items():
        more = {"value_range": (0, 255)} if kind not in ("RandomGrayscale",) else {}
        x = getattr(layers, kind)(factor, **more)(x)
    for kind in ("RandomGaussianBlur", "RandomPerspective", "RandomElasticTransform", "RandAugment", "MixUp", "CutMix"):
        x = getattr(layers, kind)()(x)
    return x


def test_augmentation_does_nothing_in_use(tmp_path: Path) -> None:
    backbone = loaded(network(lambda x: x, augmented), tmp_path, "net.keras")
    assert {type(step).__name__ for step in backbone.model.operations} == {"InputLayer", "Conv2D"}


@pytest.mark.parametrize("scale", [(1 / 64, -2.0), (1 / 127.5, -1.0)], ids=["a whole mean", "a mean between"])
def test_int8_pixels_where_the_image_is_cropped_before_it_is_normalised(
    scale: tuple[float, float], tmp_path: Path
) -> None:
    from keras import Input, Model, layers

    image = Input((12, 14, 3))
    x = layers.Rescaling(*scale)(layers.CenterCrop(8, 8)(image))
    found, wanted = lowered(
        loaded(Model(image, layers.Conv2D(8, 3, padding="same")(x)), tmp_path, "net.keras"), "onnx", "int8"
    )
    np.testing.assert_allclose(found, wanted, atol=0.05 * np.abs(wanted).max())


ONNX: dict[str, Steps] = {
    "a normalisation further in": layer("Normalization", mean=[0.1] * 8, variance=[2.0] * 8),
    "a stride larger than its kernel": layer("Conv2DTranspose", 8, 2, strides=3, padding="valid"),
    "that with padding": layer("Conv2DTranspose", 8, 3, strides=4, padding="same"),
    "a stride within its kernel": layer("Conv2DTranspose", 8, 3, strides=2, padding="same"),
}


@pytest.mark.parametrize("name", ONNX)
def test_in_onnx(name: str, tmp_path: Path) -> None:
    found, wanted = lowered(loaded(network(ONNX[name]), tmp_path, "net.keras"), "onnx", "float32")
    np.testing.assert_allclose(found, wanted, atol=2e-5 * np.abs(wanted).max())


@pytest.mark.parametrize(
    ("middle", "said"),
    [
        (layer("Resizing", 7, 9, interpolation="area"), "the network has ResizeArea, which ONNX has not"),
        (layer("Resizing", 7, 7, pad_to_aspect_ratio=True), "decides on its way what it computes"),
    ],
    ids=["area", "aspect"],
)
def test_what_onnx_would_do_otherwise_is_refused(middle: Steps, said: str, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=said):
        lowered(loaded(network(middle), tmp_path, "net.keras"), "onnx", "float32")


def split(x: Any) -> Any:
    from keras import ops

    parts: Any = ops.split(x, 2, axis=-1)
    first, second = parts
    return ops.concatenate([second, ops.maximum(0.5 * first, first)], axis=-1)


def moved(x: Any) -> Any:
    from keras import ops

    chosen: Any = ops.where(x > 0.1, x, ops.zeros_like(x))
    x = chosen * np.full(8, 0.5, np.float32)
    return ops.pad(ops.reshape(x, (-1, 12, 10, 8)), [[0, 0], [1, 0], [0, 2], [0, 0]], constant_values=1.0)


def mixed(x: Any) -> Any:
    return layer("EinsumDense", "abcd,de->abce", output_shape=(None, None, 5), bias_axes="e")(x)


def inner(x: Any) -> Any:
    """Return what a network within gives whose inputs come in another order than its layers, and of its two outputs."""
    from keras import Input, Model, layers

    first, second = Input((10, 12, 8), name="z"), Input((10, 12, 8), name="a")
    half = layers.Rescaling(0.5)(second)
    two = Model([first, second], [layers.Subtract()([first, half]), layers.Conv2D(8, 1)(half)])
    one, other = two([x, layers.ReLU()(x)])
    return layers.Subtract()([one, layers.Rescaling(3.0)(other)])


@pytest.mark.parametrize("form", ["net.keras", "net.h5"])
@pytest.mark.parametrize("middle", [split, moved, mixed, inner])
def test_operations_and_networks_with_several_outputs(middle: Steps, form: str, tmp_path: Path) -> None:
    backbone = loaded(network(middle), tmp_path, form)
    if form == "net.keras" and middle in (split, mixed):
        found, wanted = lowered(backbone, "tflite", "float32")
        np.testing.assert_allclose(found, wanted, atol=1e-5 * np.abs(wanted).max())


def test_a_file_of_keras_1_is_refused_by_that(tmp_path: Path) -> None:
    import h5py

    network(lambda x: x).save(tmp_path / "net.h5")
    with h5py.File(tmp_path / "net.h5", "r+") as file:
        file.attrs["keras_version"] = "1.2.2"
    with pytest.raises(BuildError, match="of Keras 1, whose settings had other names; load and save it in Keras 2"):
        load_backbone(str(tmp_path / "net.h5"), Asked(pixels="0..255"))


def test_outputs_with_names_in_hdf5(tmp_path: Path) -> None:
    from keras import Model

    model = network(lambda x: x)
    Model(model.input, {"features": model.output}).save(tmp_path / "net.h5")
    found = load_backbone(str(tmp_path / "net.h5"), Asked(pixels="0..255"))
    assert [type(step).__name__ for step in found.model.operations] == ["InputLayer", "Conv2D", "Conv2D"]


@pytest.mark.parametrize(
    ("function", "settings", "refused"),
    [
        ("nn.softmax", {"axis": 1}, None),
        ("nn.softmax", {"axis": -1, "name": "s"}, None),
        ("nn.silu", {"beta": 1.0}, None),
        ("nn.silu", {"beta": 2.0}, "tf.nn.silu with beta, which tlc does not know"),
    ],
)
def test_settings_of_a_function_of_tensorflow_are_kept_or_refused(
    function: str, settings: dict[str, Any], refused: str | None, tmp_path: Path
) -> None:
    import h5py
    import tensorflow as tf

    path, called = tmp_path / "net.h5", []
    model = network(layer("Activation", "relu", name="act"))
    model.save(path)
    with h5py.File(path, "r+") as file:
        config = json.loads(str(file.attrs["model_config"]))
        for item in config["config"]["layers"]:
            if item["config"]["name"] == "act":
                source = item["inbound_nodes"][0]["args"][0]["config"]["keras_history"][0]
                item["class_name"], item["inbound_nodes"] = "TFOpLambda", [[[source, 0, 0, settings]]]
                item["config"] = {"name": "act", "trainable": True, "dtype": "float32", "function": function}
                called.append(source)
        file.attrs["model_config"] = json.dumps(config)
    assert called
    if refused is not None:
        with pytest.raises(BuildError, match=refused):
            load_backbone(str(path), Asked(pixels="0..255"))
        return
    backbone = load_backbone(str(path), Asked(pixels="0..255"))
    before = type(model)(model.input, model.get_layer("act").input)(IMAGES.astype(np.float32))
    wanted = np.asarray(model.get_layer("last")(getattr(tf.nn, function.partition(".")[2])(before, **settings)))
    spec = backbone.input
    found = np.asarray(backbone.model((IMAGES.astype(np.float32) - spec.mean) / spec.std, training=False))
    np.testing.assert_allclose(found, wanted, atol=1e-5 * np.abs(wanted).max())
