"""Networks with attention, with layers that wrap others, and with weights that are not what they compute with."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tlc_edge.compiler.backbones.find import find_backbone, load_backbone
from tlc_edge.compiler.backbones.shave import shave
from tlc_edge.compiler.options import Asked
from tlc_edge.compiler.records import Backbone
from tlc_edge.compiler.toolchain import load_tensorflow
from tlc_edge.runtime.errors import BuildError, TlcError, UsageError

AS_IS = Asked(pixels="0..255")


@pytest.fixture(scope="module", autouse=True)
def _tensorflow() -> None:
    load_tensorflow()


def randomised(model: Any) -> Any:
    draw = np.random.default_rng(3)
    for v in model.weights:
        low = 0.5 if "variance" in v.path or "vector" in v.path else -0.5
        v.assign(draw.uniform(low, 1.0, v.shape) / max(1, int(np.prod(v.shape[:-1]))) ** 0.5)
    return model


def transformer() -> Any:
    """A small vision transformer: two blocks of attention over patches, with a classifier."""
    from keras import Input, Model, layers

    image = Input((16, 16, 3))
    x = layers.Conv2D(8, 4, strides=4, name="patches")(layers.Rescaling(1 / 255)(image))
    x = layers.Reshape((16, 8))(x)
    for i in range(2):
        y = layers.LayerNormalization()(x)
        x = layers.Add()([x, layers.MultiHeadAttention(2, 4, name=f"attention{i}")(y, y)])
        y = layers.Dense(8)(layers.Dense(16, activation="gelu")(layers.LayerNormalization()(x)))
        x = layers.Add()([x, y])
    x = layers.GlobalAveragePooling1D(name="mean")(layers.LayerNormalization()(x))
    return randomised(Model(image, layers.Dense(3, activation="softmax", name="top")(x)))


def wrapped() -> Any:
    from keras import Input, Model, layers

    image = Input((16, 16, 3))
    x = layers.SpectralNormalization(layers.Conv2D(6, 3, activation="relu"), name="outer")(image)
    x = layers.TimeDistributed(layers.Dense(5), name="mean")(x)
    x = layers.GlobalAveragePooling2D()(x)
    return randomised(Model(image, layers.Dense(3, activation="softmax", name="top")(x)))


def dense(change: Callable[[Any], None]) -> Any:
    """A network of a convolution, a batch norm and two dense layers, changed somehow."""
    from keras import Input, Model, layers

    image = Input((16, 16, 3))
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(6, 3, name="conv")(image)))
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dense(5, activation="relu", name="mean")(x)
    model = randomised(Model(image, layers.Dense(3, activation="softmax", name="top")(x)))
    change(model)
    return model


def features(backbone: Backbone, layer: str, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    spec = backbone.input
    trunk = shave(backbone, layer, "avg").model
    return np.asarray(trunk((images.astype(np.float32) - spec.mean) / spec.std, training=False))


def same(model: Any, file: Path, layer: str = "mean") -> Backbone:
    from keras import Model

    images = np.random.default_rng(1).integers(0, 256, (3, 16, 16, 3)).astype(np.uint8)
    wanted = np.asarray(Model(model.input, model.get_layer(layer).output)(images.astype(np.float32), training=False))
    wanted = wanted.mean((1, 2)) if wanted.ndim == 4 else wanted
    backbone = load_backbone(str(file), AS_IS)
    assert np.abs(features(backbone, layer, images) - wanted).max() < 1e-4 * np.abs(wanted).max()
    return backbone


@pytest.mark.parametrize("form", ["net.keras", "net.h5"])
def test_a_transformer_is_cut_after_its_attention_not_at_its_patches(form: str, tmp_path: Path) -> None:
    model = transformer()
    model.save(tmp_path / form)
    backbone = same(model, tmp_path / form)
    assert backbone.default_shave == "mean"
    assert backbone.default_reason == (
        "its last output: too much comes after its last feature map before the classifier, top"
    )


def edit(file: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the layers of a network in an .h5 file."""
    import h5py

    with h5py.File(file, "a") as opened:
        document = json.loads(opened.attrs["model_config"])
        for layer in document["config"]["layers"]:
            change(layer)
        opened.attrs["model_config"] = json.dumps(document)


def test_attention_as_keras_2_calls_it(tmp_path: Path) -> None:
    model = transformer()
    model.save(tmp_path / "net.h5")

    def as_keras_2(layer: dict[str, Any]) -> None:
        if layer["class_name"] == "MultiHeadAttention":
            read = layer["inbound_nodes"][0]["args"][0]["config"]["keras_history"][0]
            settings = {"value": [read, 0, 0], "training": None, "use_causal_mask": False}
            layer["inbound_nodes"] = [[[read, 0, 0, settings]]]

    edit(tmp_path / "net.h5", as_keras_2)
    same(model, tmp_path / "net.h5")


def test_a_call_with_settings_of_its_own_is_refused(tmp_path: Path) -> None:
    transformer().save(tmp_path / "net.h5")
    edit(tmp_path / "net.h5", lambda of: [n["kwargs"].update(use_causal_mask=True) for n in of["inbound_nodes"][:1]])
    with pytest.raises(BuildError, match=r"arguments of its own \(use_causal_mask\)"):
        load_backbone(str(tmp_path / "net.h5"), AS_IS)


@pytest.mark.parametrize("form", ["net.keras", "net.h5"])
def test_layers_that_wrap_a_layer(form: str, tmp_path: Path) -> None:
    model = wrapped()
    model.save(tmp_path / form)
    same(model, tmp_path / form)


def test_what_wraps_something_else_is_refused(tmp_path: Path) -> None:
    wrapped().save(tmp_path / "net.h5")

    def other(layer: dict[str, Any]) -> None:
        if layer["class_name"] == "TimeDistributed":
            layer["config"]["layer"] = {"class_name": "Lambda", "config": {"name": "a"}}

    edit(tmp_path / "net.h5", other)
    with pytest.raises(BuildError, match="layer a is a Lambda, which carries code"):
        load_backbone(str(tmp_path / "net.h5"), AS_IS)


def test_what_lora_added_is_in_the_features(tmp_path: Path) -> None:
    def add(model: Any) -> None:
        for name in ("conv", "mean"):
            model.get_layer(name).enable_lora(2)
            model.get_layer(name).lora_kernel_b.assign(np.full(model.get_layer(name).lora_kernel_b.shape, 0.3))

    model = dense(add)
    model.save(tmp_path / "net.keras")
    same(model, tmp_path / "net.keras")
    same(dense(lambda _: None), _saved(dense(lambda _: None), tmp_path / "plain.keras"))


def _saved(model: Any, file: Path) -> Path:
    model.save(file)
    return file


@pytest.mark.filterwarnings("ignore::UserWarning")  # Keras names each layer that it cannot quantize
@pytest.mark.parametrize("mode", ["int8", "int4"])
def test_what_keras_quantized_is_named_as_that(mode: str, tmp_path: Path) -> None:
    file = _saved(dense(lambda model: model.quantize(mode)), tmp_path / "net.keras")
    with pytest.raises(BuildError, match=rf"quantized already \({mode}.*as it was before that"):
        load_backbone(str(file), AS_IS)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("PruneLowMagnitude", "strip_pruning"),
        ("ClusterWeights", "strip_clustering"),
        ("Conv2DQuantizeWrapper", "a quantization-aware network"),
        ("QConv2DBatchnorm", "rounds weights by rules of its own"),
        ("QuantSeparableConv2D", "rounds weights by rules of its own"),
        ("QuadConv2D", "not one of Keras' own layers"),
    ],
)
def test_layers_of_other_libraries_are_named_with_what_to_give(kind: str, said: str, tmp_path: Path) -> None:
    file = _saved(dense(lambda _: None), tmp_path / "net.h5")
    edit(file, lambda layer: layer.update(class_name=kind) if layer["class_name"] == "Conv2D" else None)
    with pytest.raises(BuildError, match=said):
        load_backbone(str(file), AS_IS)


def test_a_dropout_of_the_package_efficientnet_does_nothing(tmp_path: Path) -> None:
    model = dense(lambda _: None)
    file = _saved(model, tmp_path / "net.h5")

    def as_dropout(layer: dict[str, Any]) -> None:
        if layer["class_name"] == "ReLU":
            layer["class_name"] = "FixedDropout"
            layer["config"] = {"name": layer["config"]["name"], "rate": 0.2, "noise_shape": [None, 1, 1, 1]}

    edit(file, as_dropout)
    assert not [step for step in load_backbone(str(file), AS_IS).model.operations if "drop" in step.name]


def test_a_keras_file_that_was_unpacked_is_named_as_that(tmp_path: Path) -> None:
    file = _saved(dense(lambda _: None), tmp_path / "net.keras")
    with zipfile.ZipFile(file) as archive:
        archive.extractall(tmp_path / "net")
    with pytest.raises(UsageError, match=r"net: a \.keras file that was unpacked.*pack its files again"):
        find_backbone(str(tmp_path / "net"))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("net.PT", "weights without a network"),
        ("model.safetensors", "weights without a network"),
        ("frozen.pb", "a graph alone"),
        ("net.mlmodel", "another framework"),
        ("net.json", "without its weights"),
    ],
)
def test_files_that_hold_no_network_say_what_to_give(name: str, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(dense(lambda _: None).to_json())
    with pytest.raises(TlcError, match=said):
        load_backbone(str(tmp_path / name), AS_IS)


def as_keras_2(training: bool | None) -> Callable[[dict[str, Any]], None]:
    def change(layer: dict[str, Any]) -> None:
        for i, node in enumerate(layer["inbound_nodes"]):
            read = node["args"][0]["config"]["keras_history"][0]
            told = {"training": training} if layer["class_name"] == "BatchNormalization" else {}
            layer["inbound_nodes"][i] = [[read, 0, 0, told]]

    return change


@pytest.mark.parametrize("training", [True, False, None])
def test_a_batch_norm_that_keras_2_calls_as_in_training_is_refused(training: bool | None, tmp_path: Path) -> None:
    import h5py

    model = dense(lambda _: None)
    file = _saved(model, tmp_path / "net.h5")
    edit(file, as_keras_2(training))
    with h5py.File(file, "a") as opened:
        opened.attrs["keras_version"] = "2.15.0"
    if training:
        with pytest.raises(BuildError, match=r"batch_normalization.* is called with training=True"):
            load_backbone(str(file), AS_IS)
    else:
        same(model, file)
