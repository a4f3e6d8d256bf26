"""What a layer computes from its variables follows them through every way in which a network is loaded or copied."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tfjs_files import write_tfjs

from tlc_edge.compiler.backbones.find import load_backbone
from tlc_edge.compiler.backbones.keras_applications import APPLICATIONS, SQUARE_ROOTS
from tlc_edge.compiler.network.fold import fold
from tlc_edge.compiler.network.pixels import PIXELS
from tlc_edge.compiler.options import Asked
from tlc_edge.compiler.toolchain import load_tensorflow
from tlc_edge.compiler.weights.keras_weights import load_weights
from tlc_edge.compiler.weights.tf_checkpoint import restore

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 12, 10, 3)).astype(np.float32)
PLACES = ("first", "after a convolution", "of each place", "inside a model", "inverted")


@pytest.fixture(scope="module", autouse=True)
def _tensorflow() -> None:
    load_tensorflow()


def network(place: str, adapted: bool = True) -> Any:
    """Return a network with one Normalization, whose variables are those of the data where it is `adapted`."""
    import keras
    from keras import Input, Model, Sequential, layers

    keras.backend.clear_session()
    keras.utils.set_random_seed(1)
    axis = (1, 2, 3) if place == "of each place" else -1
    norm = layers.Normalization(axis=axis, invert=place == "inverted", name="norm")
    x = start = Input((12, 10, 3), name="pixels")
    if place == "after a convolution":
        x = layers.Conv2D(3, 1, name="before")(x)
    if place == "inside a model":
        x = Sequential([Input((12, 10, 3)), norm, layers.Conv2D(3, 1, name="inner")], name="model")(x)
    else:
        x = norm(x)
    model = Model(start, layers.Conv2D(4, 3, strides=2, name="last")(x))
    if adapted:
        generator = np.random.default_rng(2)
        norm.adapt_mean.assign(generator.uniform(50, 200, norm.adapt_mean.shape))
        norm.adapt_variance.assign(generator.uniform(100, 5000, norm.adapt_variance.shape))
        norm.finalize_state()
    return model


def features(backbone: Any) -> Any:
    return np.asarray(backbone.model((IMAGES - backbone.input.mean) / backbone.input.std, training=False))


def close(got: Any, want: Any) -> None:
    np.testing.assert_allclose(got, want, atol=1e-4 * np.abs(want).max())


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("form", ["net.keras", "net.h5", "tfjs"])
def test_a_network_in_a_file(tmp_path: Path, form: str, place: str) -> None:
    model = network(place)
    want = np.asarray(model(IMAGES))
    write_tfjs(model, tmp_path / form) if form == "tfjs" else model.save(tmp_path / form)
    close(features(load_backbone(str(tmp_path / form), Asked(pixels="0..255"))), want)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("form", ["net.weights.h5", "net.keras", "net.h5", "checkpoint"])
def test_weights_into_a_network(tmp_path: Path, form: str, place: str) -> None:
    import tensorflow as tf

    model = network(place)
    want = np.asarray(model(IMAGES))
    if form == "checkpoint":
        saved = tf.train.Checkpoint(model=model).write(str(tmp_path / "model.ckpt"))
    else:
        (model.save_weights if "weights" in form else model.save)(tmp_path / form)
    fresh = network(place, adapted=False)
    assert not np.allclose(fresh(IMAGES), want)
    restore(fresh, saved) if form == "checkpoint" else load_weights(fresh, tmp_path / form)
    close(np.asarray(fresh(IMAGES)), want)


@pytest.mark.parametrize("place", PLACES)
def test_what_was_set_variable_by_variable_counts_in_the_folded_network(place: str) -> None:
    model, fresh = network(place), network(place, adapted=False)
    fresh.set_weights(model.get_weights())
    folded = fold(fresh, PIXELS["0..255"])
    close(np.asarray(folded.model((IMAGES - folded.input.mean) / folded.input.std)), np.asarray(model(IMAGES)))


def test_only_a_mean_for_each_channel_becomes_the_input_s() -> None:
    """A mean for each row has three numbers here, too."""
    from keras import Input, Model, layers

    start = Input((3, 10, 3))
    norm = layers.Normalization(axis=1, mean=[10.0, 100.0, 200.0], variance=[1.0, 4.0, 9.0])
    model = Model(start, layers.Conv2D(2, 2)(norm(start)))
    folded = fold(model, PIXELS["0..255"])
    images = IMAGES[:, :3]
    close(np.asarray(folded.model((images - folded.input.mean) / folded.input.std)), np.asarray(model(images)))


# --- keras.applications


@pytest.mark.parametrize("trained_on", ["ImageNet", "something else"])
def test_an_efficientnet_with_weights_of_a_file(tmp_path: Path, trained_on: str) -> None:
    """Keras divides once more by the square root of the deviation, and does so for ImageNet's weights alone."""
    import keras
    from keras import Model, layers

    keras.backend.clear_session()
    given = keras.applications.EfficientNetB0(weights=None, include_top=False, input_shape=(32, 32, 3))
    rescaling, norm = given.layers[1:3]
    deviation = np.array([0.229, 0.224, 0.225] if trained_on == "ImageNet" else [0.07, 0.06, 0.05], np.float32)
    norm.adapt_mean.assign([0.485, 0.456, 0.406])
    norm.adapt_variance.assign(deviation)
    norm.finalize_state()
    path = tmp_path / "efficientnet.weights.h5"
    given.save_weights(path)
    size = np.random.default_rng(3).integers(0, 256, (2, 32, 32, 3)).astype(np.float32)
    x = norm(rescaling.output)
    if trained_on == "ImageNet":
        x = layers.Rescaling([float(v) for v in 1 / np.sqrt(deviation)])(x)
    begin = Model(given.input, x)
    after = Model(given.get_layer("stem_conv_pad").input, given.get_layer("stem_activation").output)
    want = np.asarray(after(begin(size), training=False))
    backbone = load_backbone("keras:EfficientNetB0", Asked(weights=str(path), input_size=(32, 32)))
    cut = Model(backbone.model.input, backbone.model.get_layer("stem_activation").output)
    close(np.asarray(cut((size - backbone.input.mean) / backbone.input.std, training=False)), want)


def depends_on_weights(source: str) -> bool:
    """Return whether a function makes layers where it was asked for certain weights."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.If) and any(isinstance(n, ast.Name) and n.id == "weights" for n in ast.walk(node.test)):
            calls = [n.func for part in node.body for n in ast.walk(part) if isinstance(n, ast.Call)]
            called = [c.value for c in calls if isinstance(c, ast.Attribute)]
            if any(isinstance(v, ast.Name) and v.id == "layers" for v in called):
                return True
    return False


def test_no_other_network_of_the_installed_keras_follows_from_its_weights() -> None:
    import keras

    changing = set()
    for name in APPLICATIONS:
        module = inspect.getmodule(inspect.unwrap(getattr(keras.applications, name)))
        assert module is not None
        if depends_on_weights(inspect.getsource(module)):
            changing.add(name)
    assert changing == SQUARE_ROOTS
