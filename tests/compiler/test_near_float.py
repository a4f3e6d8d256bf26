"""Weights for int8 that bring a trunk's features nearer to float; and what is left as it is."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from small_networks import feature_map, normalised, small_images

from tlc_edge.compiler.backbones.shave import shave
from tlc_edge.compiler.data.records import Sample
from tlc_edge.compiler.features.featurize import featurize, trunk_file
from tlc_edge.compiler.features.trunk_files import TrunkFiles
from tlc_edge.compiler.lower.bias_correction import can_correct, correct_biases
from tlc_edge.compiler.lower.equalise import equalise, noise_images
from tlc_edge.compiler.lower.formats import lower_trunk
from tlc_edge.compiler.lower.near_float import near_float
from tlc_edge.compiler.lower.weight_grid import KINDS
from tlc_edge.compiler.network.walk import largest, start, steps, with_weights
from tlc_edge.compiler.records import Backbone, InputSpec, LoweredTrunk, Provenance, Trunk
from tlc_edge.compiler.toolchain import load_tensorflow
from tlc_edge.runtime.bundle.manifest import Preprocessing

CALIBRATION = small_images(24)
OTHERS = small_images(40, seed=7)


@pytest.fixture(scope="module", autouse=True)
def _tensorflow() -> None:
    load_tensorflow()


def trunk_of(build: Callable[[Any, Any], Any], seed: int = 0) -> Trunk:
    """Return a trunk from 8x8 pixels of what `build(layers, image)` gives, with weights that int8 rounds badly.

    One weight of each output channel is large: against it the others are a few steps of the grid, so their rounding
    errors times the inputs' means make a constant.
    """
    from keras import Input, Model, layers

    image = Input((8, 8, 3), name="image")
    model = Model(image, build(layers, image), name="made")
    generator = np.random.default_rng(seed)
    for layer in model.layers:
        if not isinstance(layer, layers.BatchNormalization):
            layer.set_weights([_badly_rounded(generator, w) for w in layer.get_weights()])
    backbone = Backbone("made", model, InputSpec(8, 8), Provenance("", "", "", ""), model.layers[-1].name)
    return shave(backbone)


def _badly_rounded(generator: np.random.Generator, weights: NDArray[Any]) -> NDArray[Any]:
    made = generator.normal(0.003, 0.01, weights.shape)
    if made.ndim == 4 and made.shape[-1] == 1:  # depthwise
        made[1, 1] = 1.0
    elif made.ndim > 1:
        by_output = made.reshape(-1, made.shape[-1])
        by_output[generator.integers(0, len(by_output), made.shape[-1]), np.arange(made.shape[-1])] = 1.0
    return made


def relu6(layers: Any, x: Any) -> Any:
    for i in range(4):
        x = layers.ReLU(6.0)(layers.Conv2D(24, 3, padding="same", name=f"conv{i}")(x))
        x = layers.ReLU(6.0)(layers.DepthwiseConv2D(3, padding="same", name=f"depthwise{i}")(x))
    return x


def residual(layers: Any, x: Any) -> Any:
    x = layers.Conv2D(12, 3, padding="same", name="stem")(x)
    for i in range(3):
        y = layers.ReLU(6.0)(layers.Conv2D(24, 1, name=f"expand{i}")(x))
        y = layers.ReLU(6.0)(layers.DepthwiseConv2D(3, padding="same", name=f"depthwise{i}")(y))
        x = layers.Add(name=f"sum{i}")([x, layers.Conv2D(12, 1, name=f"project{i}")(y)])
    return layers.ReLU(6.0, name="last")(layers.Conv2D(20, 1, name="top")(x))


def squeeze_excite(layers: Any, x: Any) -> Any:
    x = layers.Activation("hard_swish")(layers.Conv2D(16, 3, 2, "same", name="stem")(x))
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    gate = layers.Conv2D(8, 1, activation="relu", name="squeeze")(gate)
    gate = layers.Conv2D(16, 1, activation="sigmoid", use_bias=False, name="excite")(gate)
    x = layers.Multiply()([x, layers.ReLU(6.0)(gate + 3.0) * (1.0 / 6.0)])
    return layers.Activation("swish")(layers.Conv2D(20, 1, name="top")(x))


def everything(layers: Any, x: Any) -> Any:
    x = layers.ZeroPadding2D(1)(x)
    a = layers.SeparableConv2D(8, 3, name="separable")(x)
    b = layers.AveragePooling2D(2)(layers.Conv2DTranspose(6, 2, 2, activation="relu", name="transposed")(a))
    x = layers.Concatenate()([layers.LeakyReLU()(a), b])
    x = layers.MaxPooling2D(2)(layers.BatchNormalization()(x))
    x = layers.Dense(10, activation="tanh", name="dense")(x)
    shared = layers.Conv2D(10, 1, name="shared")
    return layers.Subtract()([shared(x), layers.PReLU()(shared(shared(x)))])


NETWORKS = {"relu6": relu6, "residual": residual, "squeeze_excite": squeeze_excite, "everything": everything}


@pytest.fixture(params=NETWORKS.values(), ids=list(NETWORKS))
def network(request: pytest.FixtureRequest) -> Trunk:
    return trunk_of(request.param)


def features(file: LoweredTrunk, trunk: Trunk, images: NDArray[np.uint8]) -> NDArray[np.float64]:
    samples = [Sample(image, "", None, str(i)) for i, image in enumerate(images)]
    return featurize(trunk_file(file, trunk.width), samples, Preprocessing(8, 8)).features.astype(np.float64)


def distance(file: LoweredTrunk, trunk: Trunk) -> float:
    """Return the mean squared distance of a file's features to float's, on images that nothing else has seen."""
    return float(np.square(features(file, trunk, OTHERS) - feature_map(trunk.model, OTHERS)).mean())


# --- the walk


def test_walking_gives_what_the_network_gives_and_holds_little(network: Trunk) -> None:
    found = steps(network.model)
    values = start(network.model, normalised(OTHERS))
    most = 0
    for step in found:
        given = step.run(values)
        most = max(most, sum(np.asarray(v)[0].size for v in values.values()) + np.asarray(given)[0].size)
        step.keep(values, given)
    (output,) = values.values()
    np.testing.assert_array_equal(output, feature_map(network.model, OTHERS).astype(np.float32))
    assert most == largest(network.model, found)
    assert most < sum(math.prod(n or 1 for n in step.shapes[-1][1:]) for step in found)


def test_other_weights_go_into_a_copy(network: Trunk) -> None:
    before = [w.copy() for w in network.model.get_weights()]
    same = with_weights(network.model, {})
    np.testing.assert_array_equal(feature_map(same, OTHERS), feature_map(network.model, OTHERS))
    name = next(step.layer.name for step in steps(network.model) if step.kind in KINDS)
    layer = network.model.get_layer(name)
    other = with_weights(network.model, {name: [w + 0.01 for w in layer.get_weights()]})
    assert not np.array_equal(feature_map(other, OTHERS), feature_map(network.model, OTHERS))
    for was, now in zip(before, network.model.get_weights(), strict=True):
        np.testing.assert_array_equal(was, now)


# --- nearer


@pytest.mark.parametrize(
    ("form", "scheme"), [("tflite", "int8"), ("onnx", "int8"), ("tflite", "int16x8"), ("tflite", "dynamic")]
)
def test_the_constant_shift_is_gone_in_every_scheme_with_int8_weights(form: str, scheme: str) -> None:
    trunk = trunk_of(relu6)
    as_before = lower_trunk(trunk, form, scheme, CALIBRATION, ())
    corrected = TrunkFiles(trunk, "off").get(form, scheme, CALIBRATION)
    assert distance(corrected, trunk) < 0.35 * distance(as_before, trunk)
    assert abs(len(corrected.data) - len(as_before.data)) <= 0.01 * len(as_before.data)


@pytest.mark.parametrize("form", ["tflite", "onnx"])
def test_no_kind_of_network_comes_out_further_from_float(network: Trunk, form: str) -> None:
    as_before = lower_trunk(network, form, "int8", CALIBRATION, ())
    corrected = TrunkFiles(network, "off").get(form, "int8", CALIBRATION)
    assert distance(corrected, network) < 1.1 * distance(as_before, network)


def test_weights_lie_on_the_grid_and_the_layers_keep_their_names(network: Trunk) -> None:
    made = near_float(network, CALIBRATION, activations=False)[0].model
    assert [layer.name for layer in made.layers] == [layer.name for layer in network.model.layers]
    for step in steps(made):
        if step.kind in ("Conv2D", "Dense") and step.layer.name != "shared":
            kernel = step.layer.get_weights()[0].astype(np.float64)
            of_grid = 127 * kernel / np.abs(kernel).max(axis=tuple(range(kernel.ndim - 1)))
            np.testing.assert_allclose(of_grid, np.rint(of_grid), atol=1e-3)


def test_equal_trunks_and_images_give_equal_bytes(network: Trunk) -> None:
    first, again = (TrunkFiles(network, "off").get("tflite", "int8", CALIBRATION).data for _ in range(2))
    assert first == again


def test_the_judges_have_the_last_word() -> None:
    trunk = trunk_of(relu6)
    corrected = correct_biases(trunk.model, {}, normalised(CALIBRATION[:16]), normalised(CALIBRATION[16:]), True)
    assert corrected.noise < corrected.plain
    made, said = near_float(trunk, CALIBRATION, activations=True)
    assert made is not trunk
    assert said is not None
    assert said.taken
    assert said.images == 8
    assert said.before < said.after <= 1
    # What white images ask for, black ones do not.
    opposite = np.concatenate([np.full((8, 8, 8, 3), 255), np.zeros((4, 8, 8, 3))]).astype(np.uint8)
    made, said = near_float(trunk, opposite, activations=True)
    assert made is trunk
    assert said is not None
    assert not said.taken
    assert said.after < said.before


ACTIVATIONS = ["relu", "relu6", "hard_swish", "swish", "sigmoid", "tanh"]


@pytest.mark.parametrize(
    ("activation", "own"), [*((a, own) for a in ACTIVATIONS for own in (False, True)), ("softmax", False)]
)
def test_each_channel_comes_to_floats_mean_behind_the_activation(activation: str, own: bool) -> None:
    """A part of the layer, or a layer of its own. But before a softmax, whose channels depend on each other."""

    def chain(layers: Any, x: Any) -> Any:
        if own:
            return layers.Conv2D(12, 3, activation=activation, name="conv")(x)
        return layers.Activation(activation, name="after")(layers.Conv2D(12, 3, name="conv")(x))

    model, images = trunk_of(chain).model, normalised(CALIBRATION[:16])
    kernel, bias = model.get_layer("conv").get_weights()
    model.get_layer("conv").set_weights([kernel, bias + np.linspace(-0.5, 1, 12, dtype=np.float32)])
    corrected = correct_biases(model, {}, images, normalised(CALIBRATION[16:]), False).weights
    plain = {"conv": [corrected["conv"][0], model.get_layer("conv").get_weights()[1]]}

    def means(of: Any) -> NDArray[np.float64]:
        if activation == "softmax":
            import keras

            of = keras.Model(of.inputs[0], of.get_layer("conv").output)
        given = np.asarray(of(images), np.float64)
        return given.mean(axis=tuple(range(given.ndim - 1)))

    expected, off, near = (means(m) for m in (model, with_weights(model, plain), with_weights(model, corrected)))
    off, near = np.abs(off - expected), np.abs(near - expected)
    assert off.max() > 1e-5
    assert near.max() < 0.02 * off.max()


# --- left as it is


def test_weights_that_are_on_the_grid_already_are_left() -> None:
    trunk = trunk_of(relu6)
    corrected = correct_biases(trunk.model, {}, normalised(CALIBRATION[:8]), normalised(CALIBRATION[8:]), False)
    kernels = {
        name: [*weights[:-1], trunk.model.get_layer(name).get_weights()[-1]]
        for name, weights in corrected.weights.items()
    }
    exact = Trunk(trunk.backbone, trunk.layer, trunk.pool, with_weights(trunk.model, kernels), trunk.width)
    assert near_float(exact, CALIBRATION, activations=False)[0] is exact


@pytest.mark.parametrize("count", [0, 1])
def test_without_images_to_judge_by_nothing_is_done(count: int) -> None:
    trunk = trunk_of(relu6)
    assert near_float(trunk, CALIBRATION[:count], activations=True) == (trunk, None)
    assert near_float(trunk, None, activations=True) == (trunk, None)


def test_layers_with_weights_that_are_not_known_leave_the_network_as_it_is() -> None:
    def normed(layers: Any, x: Any) -> Any:
        return layers.LayerNormalization()(layers.Conv2D(8, 3)(x))

    def without(layers: Any, x: Any) -> Any:
        return layers.MaxPooling2D(2)(x)

    for build in (normed, without):
        trunk = trunk_of(build)
        assert not can_correct(trunk.model)
        assert near_float(trunk, CALIBRATION, activations=True) == (trunk, None)
    assert can_correct(trunk_of(everything).model)


# --- equalising


def spread(trunk: Trunk) -> Trunk:
    """Return the trunk with one channel of its stream a hundred times as wide as the others, which gives the same."""
    factor = np.ones(12)
    factor[5] = 100.0
    weights: dict[str, list[Any]] = {}
    for name in ("stem", "project0", "project1", "project2"):
        weights[name] = [w * factor for w in trunk.model.get_layer(name).get_weights()]
    for name in ("expand0", "expand1", "expand2", "top"):
        kernel, bias = trunk.model.get_layer(name).get_weights()
        weights[name] = [kernel / factor[:, None], bias]
    return Trunk(trunk.backbone, trunk.layer, trunk.pool, with_weights(trunk.model, weights), trunk.width)


def test_a_residual_stream_is_equalised_and_the_float_network_stays_the_same() -> None:
    trunk = spread(trunk_of(residual))
    weights = equalise(trunk.model, normalised(CALIBRATION), normalised(noise_images(8, 8, 3)))
    assert set(weights) == {"stem", "expand0", "project0", "expand1", "project1", "expand2", "project2", "top"}
    was, now = (
        np.abs(w["stem"][0]).max(axis=(0, 1, 2))
        for w in ({"stem": trunk.model.get_layer("stem").get_weights()}, weights)
    )
    assert now.max() / np.median(now) < 0.1 * was.max() / np.median(was)
    same = with_weights(trunk.model, weights)
    expected = feature_map(trunk.model, OTHERS)
    np.testing.assert_allclose(feature_map(same, OTHERS), expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("form", ["tflite", "onnx"])
def test_one_wide_channel_no_longer_blinds_the_others(form: str) -> None:
    trunk = spread(trunk_of(residual))
    as_before = lower_trunk(trunk, form, "int8", CALIBRATION, ())
    corrected = TrunkFiles(trunk, "off").get(form, "int8", CALIBRATION)
    assert distance(corrected, trunk) < 0.35 * distance(as_before, trunk)


@pytest.mark.parametrize(("limit", "changed"), [(6.0, set()), (None, {"first", "second"})])
def test_through_a_relu_that_clips_above_nothing_is_scaled(limit: float | None, changed: set[str]) -> None:
    def chain(layers: Any, x: Any) -> Any:
        x = layers.ReLU(limit)(layers.Conv2D(8, 3, name="first")(x))
        return layers.ReLU(6.0)(layers.Conv2D(8, 3, name="second")(x))

    model = trunk_of(chain).model
    weights = equalise(model, normalised(CALIBRATION), normalised(noise_images(8, 8, 3)))
    assert set(weights) == changed
    expected = feature_map(model, OTHERS)
    np.testing.assert_allclose(feature_map(with_weights(model, weights), OTHERS), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("build", NETWORKS.values(), ids=list(NETWORKS))
def test_equalising_changes_no_float_network(build: Callable[[Any, Any], Any]) -> None:
    model = trunk_of(build).model
    weights = equalise(model, normalised(CALIBRATION), normalised(noise_images(8, 8, 3)))
    expected = feature_map(model, OTHERS)
    atol = 1e-5 * max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(feature_map(with_weights(model, weights), OTHERS), expected, atol=atol)


def test_noise_is_always_the_same_and_has_the_spectrum_of_photos() -> None:
    images = noise_images(32, 48, 3)
    assert images.shape[1:] == (32, 48, 3)
    np.testing.assert_array_equal(images, noise_images(32, 48, 3))
    assert noise_images(32, 48, 1).shape[1:] == (32, 48, 1)
    steps_ = np.abs(np.diff(images.astype(float), axis=2))
    far = np.abs(images[:, :, 24:].astype(float) - images[:, :, :24])
    assert steps_.mean() < 0.5 * far.mean()
