from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tlc_edge.compiler.network.fold import fold
from tlc_edge.compiler.network.normalise import presence
from tlc_edge.compiler.network.pixels import PIXELS, Pixels, input_spec
from tlc_edge.compiler.toolchain import load_tensorflow
from tlc_edge.runtime.errors import BuildError

IMAGES = np.random.default_rng(0).integers(0, 256, (2, 12, 10, 3)).astype(np.float32)
# What keras.applications does to pixels before its networks, written out.
TRAINED_ON = {
    "-1..1": IMAGES / 127.5 - 1,
    "0..1": IMAGES / 255,
    "0..255": IMAGES,
    "imagenet": (IMAGES / 255 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225]),
    "caffe": IMAGES[..., ::-1] - np.array([103.939, 116.779, 123.68]),
    "clip": (IMAGES / 255 - np.array([0.48145466, 0.4578275, 0.40821073]))
    / np.array([0.26862954, 0.26130258, 0.27577711]),
}


@pytest.fixture(scope="module", autouse=True)
def _tensorflow() -> None:
    load_tensorflow()


def random_weights(model: Any) -> Any:
    generator = np.random.default_rng(1)
    for v in model.weights:
        positive = v.name in ("gamma", "moving_variance", "variance")
        v.assign(generator.uniform(0.5, 2, v.shape) if positive else generator.normal(0, 0.4, v.shape))
    return model


def network(*steps: Any, shape: tuple[int, int, int] = (12, 10, 3)) -> Any:
    from keras import Sequential, layers

    return random_weights(Sequential([layers.Input(shape), *steps], name="given"))


def run(model: Any, x: NDArray[Any]) -> NDArray[np.float32]:
    return np.asarray(model(x.astype(np.float32), training=False))


def normalised(folded: Any, images: NDArray[Any] = IMAGES) -> NDArray[np.float32]:
    return (images - folded.input.mean) / folded.input.std


def kinds(model: Any) -> list[str]:
    return [type(layer).__name__ for layer in model.layers]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", ["Conv2D", "DepthwiseConv2D", "SeparableConv2D", "Conv2DTranspose", "Dense"])
def test_a_batch_norm_goes_into_the_layer_before_it(kind: str, bias: bool) -> None:
    from keras import layers

    made: Any = {
        "Conv2D": lambda: layers.Conv2D(6, 3, 2, "same", groups=3, use_bias=bias, name="conv"),
        "DepthwiseConv2D": lambda: layers.DepthwiseConv2D(3, depth_multiplier=2, use_bias=bias, name="conv"),
        "SeparableConv2D": lambda: layers.SeparableConv2D(5, 3, depth_multiplier=2, use_bias=bias, name="conv"),
        "Conv2DTranspose": lambda: layers.Conv2DTranspose(4, 3, 2, use_bias=bias, name="conv"),
        "Dense": lambda: layers.Dense(4, use_bias=bias, name="conv"),
    }[kind]()
    given = network(made, layers.BatchNormalization(name="norm"), layers.ReLU())
    folded = fold(given, PIXELS["-1..1"])
    assert kinds(folded.model) == ["InputLayer", kind, "ReLU"]
    assert folded.merged == {"norm": "conv"}
    np.testing.assert_allclose(run(folded.model, normalised(folded)), run(given, TRAINED_ON["-1..1"]), atol=1e-5)


@pytest.mark.parametrize(("scale", "center"), [(True, False), (False, True), (False, False)])
def test_a_batch_norm_without_all_of_its_numbers(scale: bool, center: bool) -> None:
    from keras import layers

    given = network(layers.Conv2D(6, 3, name="conv"), layers.BatchNormalization(scale=scale, center=center))
    folded = fold(given, PIXELS["0..1"])
    assert kinds(folded.model) == ["InputLayer", "Conv2D"]
    np.testing.assert_allclose(run(folded.model, normalised(folded)), run(given, TRAINED_ON["0..1"]), atol=1e-5)


def test_a_batch_norm_stays_where_it_cannot_go_into_another_layer() -> None:
    from keras import Input, Model, layers

    x = start = Input((12, 10, 3))
    x = layers.Conv2D(4, 3, activation="relu")(x)
    x = layers.BatchNormalization(name="after_activation")(x)
    x = layers.Conv2D(4, 1, name="read_twice")(x)
    x = layers.Add()([layers.BatchNormalization(name="one_of_two")(x), x])
    given = random_weights(Model(start, x))
    folded = fold(given, PIXELS["0..1"])
    assert kinds(folded.model).count("BatchNormalization") == 2
    assert not folded.merged
    np.testing.assert_allclose(run(folded.model, normalised(folded)), run(given, TRAINED_ON["0..1"]), atol=1e-5)


def test_the_given_model_stays_as_it_is() -> None:
    from keras import layers

    given = network(layers.Conv2D(4, 3), layers.BatchNormalization(), layers.Dropout(0.5))
    before, nodes = run(given, IMAGES), [len(layer._inbound_nodes) for layer in given.layers]
    fold(given, PIXELS["caffe"])
    np.testing.assert_array_equal(run(given, IMAGES), before)
    assert [len(layer._inbound_nodes) for layer in given.layers] == nodes


def test_models_in_models_are_laid_open_and_what_idles_goes() -> None:
    from keras import Sequential, layers

    inner = Sequential([layers.Input((12, 10, 3)), layers.Conv2D(4, 3, name="conv"), layers.BatchNormalization()])
    given = network(
        layers.RandomFlip("horizontal"), inner, layers.Dropout(0.3), layers.Activation("linear"), layers.Conv2D(2, 1)
    )
    folded = fold(given, PIXELS["-1..1"])
    assert kinds(folded.model) == ["InputLayer", "Conv2D", "Conv2D"]
    np.testing.assert_allclose(run(folded.model, normalised(folded)), run(given, TRAINED_ON["-1..1"]), atol=1e-5)


def test_layers_of_one_name_get_names_of_their_own() -> None:
    """Two networks in one may each have a layer of that name, and the folded one has names that are its own."""
    from keras import Sequential, layers

    def inner(filters: int) -> Any:
        return Sequential([layers.Conv2D(filters, 1, name="conv"), layers.BatchNormalization(name=f"norm{filters}")])

    given = network(inner(4), inner(5), inner(6), layers.Conv2D(2, 1, name="image"), layers.ReLU(name="last"))
    folded = fold(given, PIXELS["-1..1"])
    assert [layer.name for layer in folded.model.layers[1:]] == ["conv", "conv_2", "conv_3", "image_2", "last"]
    assert folded.merged == {"norm4": "conv", "norm5": "conv_2", "norm6": "conv_3", "image": "image_2"}
    np.testing.assert_allclose(run(folded.model, normalised(folded)), run(given, TRAINED_ON["-1..1"]), atol=1e-5)


def test_a_layer_used_twice_keeps_its_one_set_of_weights() -> None:
    from keras import Input, Model, layers

    shared = layers.Conv2D(3, 3, padding="same", name="shared")
    start = Input((12, 10, 3))
    given = random_weights(Model(start, layers.BatchNormalization()(shared(shared(start)))))
    folded = fold(given, PIXELS["-1..1"])
    assert kinds(folded.model).count("Conv2D") == 1
    np.testing.assert_allclose(run(folded.model, normalised(folded)), run(given, TRAINED_ON["-1..1"]), atol=1e-5)


@pytest.mark.parametrize("padding", ["same", "valid", "zeros around"])
@pytest.mark.parametrize("pixels", PIXELS)
def test_what_it_was_trained_on_becomes_the_input_and_the_first_convolution_s(pixels: str, padding: str) -> None:
    """Exact at the borders too: there are zeros around the normalised image, not around the pixels."""
    from keras import layers

    zeros = [layers.ZeroPadding2D((2, 1), name="zeros")] if padding == "zeros around" else []
    conv = layers.Conv2D(4, 3, 2, padding="same" if padding == "same" else "valid", use_bias=False)
    given = network(*zeros, conv, layers.BatchNormalization())
    folded = fold(given, PIXELS[pixels])
    scalar = pixels in ("-1..1", "0..1", "0..255")
    further = ["FurtherChannel"] if not scalar and padding != "valid" else []
    assert kinds(folded.model) == ["InputLayer", *further, *(["ZeroPadding2D"] if zeros else []), "Conv2D"]
    expected = run(given, TRAINED_ON[pixels])
    np.testing.assert_allclose(run(folded.model, normalised(folded)), expected, atol=2e-6 * np.abs(expected).max())


@pytest.mark.parametrize("pixels", ["imagenet", "caffe"])
@pytest.mark.parametrize("first", ["depthwise", "groups", "two readers", "twice", "an output", "padded twice"])
def test_where_the_first_layer_cannot_take_it_in_it_stays_a_layer(pixels: str, first: str) -> None:
    from keras import Input, Model, layers

    start = Input((12, 10, 3))
    if first == "depthwise":
        end: Any = layers.DepthwiseConv2D(3, padding="same")(start)
    elif first == "groups":
        end = layers.Conv2D(6, 3, padding="same", groups=3)(start)
    elif first == "two readers":
        end = layers.Add()([layers.Conv2D(4, 3, padding="same")(start), layers.Conv2D(4, 1)(start)])
    elif first == "twice":
        conv = layers.Conv2D(3, 3, padding="same")
        end = conv(conv(start))
    elif first == "an output":
        end = layers.ZeroPadding2D()(start)
    else:
        zeros = layers.ZeroPadding2D()
        end = layers.Conv2D(4, 3)(zeros(zeros(start)))
    given = random_weights(Model(start, end))
    folded = fold(given, PIXELS[pixels])
    assert kinds(folded.model)[1] == ("DepthwiseConv2D" if pixels == "imagenet" else "Conv2D")
    assert folded.model.layers[1].name == "normalise"
    expected = run(given, TRAINED_ON[pixels])
    np.testing.assert_allclose(run(folded.model, normalised(folded)), expected, atol=2e-6 * np.abs(expected).max())


@pytest.mark.parametrize("name", ["normalise", "image"])
def test_a_layer_with_a_name_of_ours_is_found_by_it(name: str) -> None:
    from keras import Input, Model, layers

    start = Input((8, 8, 3), name="given")
    end = layers.Conv2D(2, 1, name="end")(layers.DepthwiseConv2D(3, padding="same", name=name)(start))
    folded = fold(random_weights(Model(start, end)), PIXELS["imagenet"])
    found = folded.model.get_layer(folded.merged[name])
    assert type(found).__name__ == "DepthwiseConv2D"
    assert found.kernel_size == (3, 3)


def test_a_channel_for_the_offsets_is_a_whole_number_of_grey_levels_or_there_is_none() -> None:
    spec, rest = input_spec(PIXELS["imagenet"], 12, 10, 3)
    assert rest is not None
    value = presence(rest, spec)
    assert value == 71 / 128  # three times from 127 to blue's mean of 103.5, in units of the normalised input
    far = Pixels((1.0,), (0.0, 0.0, -300.0))  # black is what 300 would be: no pixel is so far above the mean
    spec, rest = input_spec(far, 12, 10, 3)
    assert rest is not None
    assert presence(rest, spec) is None

    from keras import layers

    given = network(layers.Conv2D(4, 3, padding="same"))
    folded = fold(given, far)
    assert kinds(folded.model) == ["InputLayer", "DepthwiseConv2D", "Conv2D"]
    expected = run(given, IMAGES + np.array([0, 0, -300]))
    np.testing.assert_allclose(run(folded.model, normalised(folded)), expected, atol=2e-6 * np.abs(expected).max())


def test_folded_again_it_is_the_same() -> None:
    from keras import layers

    given = network(layers.Conv2D(4, 3, padding="same"))
    once = fold(given, PIXELS["imagenet"])
    spec = once.input
    again = fold(once.model, Pixels((1 / spec.std,), (-spec.mean / spec.std,)), (9, 15))
    assert kinds(again.model) == kinds(once.model)
    images = np.random.default_rng(3).integers(0, 256, (1, 9, 15, 3)).astype(np.float32)
    other = network(layers.Conv2D(4, 3, padding="same"), shape=(9, 15, 3))
    trained_on = (images / 255 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    np.testing.assert_allclose(run(again.model, normalised(again, images)), run(other, trained_on), atol=1e-5)


def test_layers_that_normalise_become_the_input() -> None:
    from keras import layers

    one = network(layers.Rescaling(1 / 127.5, -1, name="scale"), layers.Conv2D(4, 3, padding="same"))
    folded = fold(one, PIXELS["0..255"])
    assert kinds(folded.model) == ["InputLayer", "Conv2D"]
    assert (round(folded.input.mean, 6), round(folded.input.std, 6)) == (127.5, 127.5)
    np.testing.assert_allclose(run(folded.model, normalised(folded)), run(one, IMAGES), atol=1e-5)

    each = network(
        layers.Rescaling(1 / 255),
        layers.Normalization(mean=[0.4, 0.5, 0.6], variance=[0.1, 0.2, 0.3]),
        layers.Conv2D(4, 3, padding="same"),
    )
    folded = fold(each, PIXELS["0..255"])
    assert kinds(folded.model) == ["InputLayer", "FurtherChannel", "Conv2D"]
    np.testing.assert_allclose(run(folded.model, normalised(folded)), run(each, IMAGES), atol=1e-4)


def test_rescaling_further_in_stays() -> None:
    from keras import layers

    given = network(layers.Conv2D(4, 3), layers.Rescaling(0.5, 1.0))
    folded = fold(given, PIXELS["0..1"])
    assert kinds(folded.model) == ["InputLayer", "Conv2D", "Rescaling"]


def test_another_size_gives_the_same_network_on_it() -> None:
    from keras import layers

    given = network(layers.Conv2D(4, 3, 2), layers.BatchNormalization(), shape=(12, 10, 3))
    same = network(layers.Conv2D(4, 3, 2), layers.BatchNormalization(), shape=(9, 15, 3))
    images = np.random.default_rng(3).integers(0, 256, (1, 9, 15, 3)).astype(np.float32)
    folded = fold(given, PIXELS["0..1"], (9, 15))
    np.testing.assert_allclose(run(folded.model, normalised(folded, images)), run(same, images / 255), atol=1e-5)
    flat = network(layers.Flatten(), layers.Dense(3, name="fixed"))
    with pytest.raises(BuildError, match=r"layer fixed needs weights .*, the network has .*; leave --input-size to"):
        fold(flat, PIXELS["0..1"], (9, 15))
    with pytest.raises(BuildError, match=r"^layer wide cannot be rebuilt for this input \("):
        fold(network(layers.Conv2D(4, 9, name="wide")), PIXELS["0..1"], (12, 8))


def test_several_outputs_are_refused_with_what_works() -> None:
    from keras import Input, Model, layers

    start = Input((12, 10, 3))
    x = layers.Conv2D(4, 3, name="last")(start)
    model = Model(start, [layers.Conv2D(2, 1, name="left")(x), layers.Conv2D(3, 1, name="right")(x)])
    advice = r'2 outputs \(left, right\), expected one; .*: keras\.Model\(m\.input, m\.get_layer\("left"\)\.output\)'
    with pytest.raises(BuildError, match=advice):
        fold(model, PIXELS["0..1"])
    for name, width in (("left", 2), ("last", 4)):
        assert fold(Model(model.input, model.get_layer(name).output), PIXELS["0..1"]).model.output.shape[-1] == width


@pytest.mark.parametrize("name", ["normalise", "image"])
def test_a_layer_of_that_name_that_does_nothing_is_what_it_reads(name: str) -> None:
    from keras import Input, Sequential, layers

    steps = [layers.Conv2D(4, 3, name="conv"), layers.Dropout(0.5, name=name), layers.Conv2D(2, 1, name="end")]
    folded = fold(Sequential([Input((16, 16, 3)), *steps]), PIXELS["imagenet"])
    assert folded.merged == {name: "conv"}
