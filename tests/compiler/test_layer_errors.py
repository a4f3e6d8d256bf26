"""Layer by layer, across formats and schemes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command_runs import here
from small_networks import small_backbone, small_fused, small_images

from tlc_edge.compiler.backbones.shave import shave
from tlc_edge.compiler.data.load import load_dataset
from tlc_edge.compiler.lower.onnx_lower import lower_trunk_onnx
from tlc_edge.compiler.lower.tflite_lower import lower_trunk_tflite
from tlc_edge.compiler.lower.tflite_names import layer_name
from tlc_edge.compiler.records import Trunk
from tlc_edge.compiler.toolchain import load_tensorflow
from tlc_edge.compiler.verify.bundle_layers import verify_layers
from tlc_edge.compiler.verify.layer_errors import EXACT, measure_layers, worst_first
from tlc_edge.compiler.verify.layer_values import open_layers
from tlc_edge.runtime import Bundle
from tlc_edge.runtime.errors import UsageError

IMAGES = small_images(8, seed=2)
File = tuple[bytes, str]


@pytest.fixture(scope="module")
def trunk() -> Trunk:
    return small_fused().trunk


@pytest.fixture(scope="module")
def files(trunk: Trunk) -> dict[tuple[str, str], File]:
    calibration = small_images(16)
    made = {("tflite", s): lower_trunk_tflite(trunk, s, calibration).data for s in ("float32", "int8", "int16x8")}
    made |= {("onnx", s): lower_trunk_onnx(trunk, s, calibration).data for s in ("float32", "int8")}
    return {key: (data, key[0]) for key, data in made.items()}


@pytest.mark.parametrize("form", ["tflite", "onnx"])
def test_what_a_layer_gives_is_what_keras_gives(trunk: Trunk, files: dict[tuple[str, str], File], form: str) -> None:
    from keras import Model

    opened = open_layers(*files[form, "float32"])
    found = opened.run(IMAGES[0])
    normal = ((IMAGES[:1].astype(np.float64) - 127) / 128).astype(np.float32)
    for layer in ("first_activation", "top_activation"):
        wanted = Model(trunk.model.input, trunk.model.get_layer(layer).output)(normal, training=False).numpy()[0]
        assert any(v.shape == wanted.shape and np.allclose(v, wanted, atol=1e-5) for v in found), layer


@pytest.mark.parametrize("reference", ["tflite", "onnx"])
@pytest.mark.parametrize(("judged", "least"), [("tflite", 20), ("onnx", 20)])
def test_layers_are_matched_across_formats(
    files: dict[tuple[str, str], File], reference: str, judged: str, least: float
) -> None:
    errors = measure_layers(files[reference, "float32"], files[judged, "int8"], IMAGES)
    assert [e.operation.upper().replace("_2D", "") for e in errors[:2]] == ["CONV", "CONV"]
    assert len(errors) == 3  # both convolutions and the mean; a clip is part of its convolution
    assert all(least < e.snr < 60 and 0.99 < e.cosine < 1 for e in errors)


@pytest.mark.parametrize("form", ["tflite", "onnx"])
def test_a_file_is_equal_to_itself(files: dict[tuple[str, str], File], form: str) -> None:
    errors = measure_layers(files[form, "float32"], files[form, "float32"], IMAGES)
    assert len(errors) == len(open_layers(*files[form, "float32"]).layers)
    assert all((e.snr, e.added) == (EXACT, 0) and e.cosine == pytest.approx(1) for e in errors)


def test_finer_steps_make_less_noise(files: dict[tuple[str, str], File]) -> None:
    int8, int16 = (measure_layers(files["tflite", "float32"], files["tflite", s], IMAGES) for s in ("int8", "int16x8"))
    assert np.mean([e.snr for e in int16]) > np.mean([e.snr for e in int8]) + 1


def test_the_layer_that_brings_the_noise_is_named(trunk: Trunk, files: dict[tuple[str, str], File]) -> None:
    """One layer's weights are spoiled: its own noise stands out, though later layers are as noisy."""
    from keras import models

    spoiled = models.clone_model(trunk.model)
    spoiled.set_weights(trunk.model.get_weights())
    kernel, bias = spoiled.get_layer("first_conv").get_weights()
    noise = np.random.default_rng(0).normal(0, 0.1, kernel.shape)
    spoiled.get_layer("first_conv").set_weights([kernel + noise, bias])
    other = lower_trunk_tflite(replace(trunk, model=spoiled), "float32")
    errors = measure_layers(files["tflite", "float32"], (other.data, "tflite"), IMAGES)
    assert max(errors, key=lambda e: e.added) is next(e for e in errors if e.operation == "CONV_2D")
    assert worst_first(errors)[0].snr == min(e.snr for e in errors) < 30


@pytest.fixture(scope="module")
def swish() -> Trunk:
    """A trunk of hard swishes and a squeeze-excite: of small inputs, their steps differ by factors only."""
    load_tensorflow()
    from keras import Input, Model, layers

    image = Input((8, 8, 3), name="image")
    x = layers.Conv2D(6, 3, 2, "same", name="first_conv")(image)
    x = layers.Activation("hard_silu", name="first_activation")(x)
    squeezed = layers.Conv2D(6, 1, name="gate_conv")(layers.GlobalAveragePooling2D(keepdims=True, name="squeeze")(x))
    x = layers.Multiply(name="excite")([x, layers.Activation("hard_sigmoid", name="gate")(squeezed)])
    x = layers.Conv2D(12, 1, name="top_conv")(x)
    model = Model(image, layers.Activation("hard_silu", name="top_activation")(x), name="swish")
    generator = np.random.default_rng(0)
    model.set_weights([generator.normal(0, 0.05, w.shape) for w in model.get_weights()])
    return shave(replace(small_backbone(), model=model))


@pytest.mark.parametrize("scheme", ["dynamic", "float16", "int16x8"])
@pytest.mark.parametrize("network", ["trunk", "swish"])
def test_pixels_that_pass_through_float_are_no_noise(network: str, scheme: str, request: pytest.FixtureRequest) -> None:
    """Each layer is held against itself, not against the same thing times 128, 2 or 1/6."""
    net: Trunk = request.getfixturevalue(network)
    floats = lower_trunk_onnx(net).data, "onnx"
    quantized = lower_trunk_tflite(net, scheme, small_images(16)).data, "tflite"
    errors = measure_layers(floats, quantized, IMAGES)
    assert [e.operation for e in errors if e.operation in ("CONV_2D", "MEAN", "HARD_SWISH")] == (
        ["CONV_2D", "CONV_2D", "MEAN"]
        if network == "trunk"
        else ["CONV_2D", "HARD_SWISH", "MEAN", "CONV_2D", "CONV_2D", "HARD_SWISH", "MEAN"]
    )
    assert "SUB" not in [e.operation for e in errors]  # of the pixels
    assert min(e.snr for e in errors) > 20, [(e.name, e.operation, e.snr) for e in errors]


@pytest.mark.parametrize(("factor", "snr"), [(0.0, 0), (0.9, 20), (2.0, 0)])
def test_a_layer_that_really_is_far_off_is_told(
    trunk: Trunk, files: dict[tuple[str, str], File], factor: float, snr: float
) -> None:
    """A layer of zeros above all: int8 makes such. One that gives the double is known by its name."""
    from keras import models

    off = models.clone_model(trunk.model)
    off.set_weights(trunk.model.get_weights())
    kernel, bias = off.get_layer("top_conv").get_weights()
    # Below the clip at 6, so that what comes out is the factor's.
    off.get_layer("top_conv").set_weights([kernel * 0.01, bias * 0.01])
    floats = lower_trunk_tflite(replace(trunk, model=off), "float32").data
    off.get_layer("top_conv").set_weights([kernel * 0.01 * factor, bias * 0.01 * factor])
    other = lower_trunk_tflite(replace(trunk, model=off), "float32").data
    errors = measure_layers((floats, "tflite"), (other, "tflite"), IMAGES)
    assert [round(e.snr, 1) for e in errors] == [EXACT, snr, snr]  # both convolutions and the mean


def test_names_that_converters_make() -> None:
    assert layer_name("net_1/block_conv_1/convolution;net_1/block_conv_1/Squeeze") == "block_conv"
    assert layer_name("net/conv_1/convolution") == "conv_1"
    assert layer_name("features") == "features"


class TestOfABundle:
    def test_every_smaller_model_is_compared(self, bundle: Bundle, photos: Path) -> None:
        found = verify_layers(bundle, load_dataset(str(photos), limit=8))
        assert found.keys() == {"model.tflite"}
        layers = found["model.tflite"]
        names = [e.name for e in layers]
        assert {"stem_activation", "block5c_project_conv", "neck_0", "head_0"} <= set(names)
        assert len(layers) > 55
        assert all(0 < e.snr < 60 for e in layers)

    def test_the_command_puts_the_worst_first(
        self, bundle: Bundle, photos: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        words = ["verify", bundle.path, "--data", photos, "--limit", "8", "--layers"]
        (rows,) = here(capfd, *words, "--json").json()["layers"].values()
        assert rows[0].keys() == {"name", "operation", "snr", "cosine", "added"}
        assert [r["snr"] for r in rows] == sorted(r["snr"] for r in rows)
        shown = here(capfd, *words).out
        assert "model.tflite: " in shown
        assert "the noisiest first" in shown
        assert shown.index(rows[0]["name"]) < shown.index(rows[5]["name"])

    def test_the_report_has_them_too(self, bundle: Bundle) -> None:
        layers = json.loads(bundle.read("report.json"))["layers"]
        assert layers.keys() == {"model.tflite"}  # the ONNX file is float32
        rows = layers["model.tflite"]
        assert len(rows) > 55
        assert [r["snr"] for r in rows] == sorted(r["snr"] for r in rows)
        page = bundle.read("report.html").decode()
        assert f"The 20 noisiest of {len(rows)}" in page
        assert rows[0]["name"] in page

    def test_a_bundle_without_a_float_model(self, bundle: Bundle, photos: Path) -> None:
        def of(*schemes: str) -> Bundle:
            models = tuple(replace(m, scheme=s) for m, s in zip(bundle.manifest.models, schemes, strict=False))
            return replace(bundle, manifest=replace(bundle.manifest, models=models))

        data = load_dataset(str(photos))
        with pytest.raises(UsageError, match=r"no model in it is float32, .* build with --onnx-scheme float32$"):
            verify_layers(of("int8", "int8"), data)
        with pytest.raises(UsageError, match=r"no model .* float32, .* takes no ONNX file; .*inspect .* --report$"):
            verify_layers(of("int8"), data)
