"""SavedModels that take uint8 pixels: the same features, or refused before the work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tlc_edge.compiler.backbones.find import load_backbone
from tlc_edge.compiler.options import Asked
from tlc_edge.compiler.toolchain import load_tensorflow
from tlc_edge.runtime.errors import BuildError

pytestmark = pytest.mark.usefixtures("_unrehearsed")

KERNEL = np.random.default_rng(0).normal(size=(3, 3, 3, 8)).astype(np.float32)
IMAGES = np.random.default_rng(1).integers(0, 256, (3, 12, 12, 3)).astype(np.uint8)


@pytest.fixture(scope="module", autouse=True)
def _tensorflow() -> None:
    load_tensorflow()


def save(
    folder: Path, begin: Callable[[Any], Any], dtype: str = "uint8", batch: int | None = None
) -> Callable[[Any], Any]:
    """Write a SavedModel that begins so; return what it computes."""
    import tensorflow as tf

    class Module(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kernel = tf.Variable(KERNEL)

    module = Module()

    def run(image: Any) -> Any:
        return {"features": tf.nn.conv2d(begin(image), module.kernel, 2, "SAME")}

    signature = [tf.TensorSpec([batch, 12, 12, 3], dtype, name="image")]
    served = tf.function(run, input_signature=signature).get_concrete_function()
    tf.saved_model.save(module, str(folder), signatures={"serving_default": served})
    return lambda image: run(tf.constant(image))["features"].numpy()


def cast(image: Any) -> Any:
    import tensorflow as tf

    return tf.cast(image, tf.float32) / 127.5 - 1


def converted(image: Any) -> Any:
    import tensorflow as tf

    return tf.image.convert_image_dtype(image, tf.float32)


def resized(image: Any) -> Any:
    import tensorflow as tf

    return tf.image.resize(image, [8, 8]) / 255.0


def resized_by_nearest(image: Any) -> Any:
    import tensorflow as tf

    return tf.cast(tf.image.resize(image, [8, 8], method="nearest"), tf.float32)


def turned_and_padded(image: Any) -> Any:
    import tensorflow as tf

    wide = tf.pad(image[..., ::-1], [[0, 0], [1, 1], [1, 1], [0, 0]], constant_values=7)
    return tf.cast(tf.cast(wide, tf.float16), tf.float32)


@pytest.mark.parametrize("begin", [cast, converted, resized, resized_by_nearest, turned_and_padded])
def test_uint8_pixels_say_themselves_what_they_are(begin: Callable[[Any], Any], tmp_path: Path) -> None:
    original = save(tmp_path / "net", begin)
    backbone = load_backbone(str(tmp_path / "net"))
    assert (backbone.input.mean, backbone.input.std, backbone.notes) == (0.0, 1.0, ())
    expected = original(IMAGES)
    found = np.asarray(backbone.model(IMAGES.astype(np.float32)))
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


def as_whole_numbers(image: Any) -> Any:
    import tensorflow as tf

    return tf.cast(image - tf.constant(3, tf.uint8), tf.float32)  # 2 - 3 is 255 there


def as_signed(image: Any) -> Any:
    import tensorflow as tf

    return tf.cast(tf.cast(image, tf.int32) - 128, tf.float32)


@pytest.mark.parametrize(("begin", "operation"), [(as_whole_numbers, "Sub"), (as_signed, "Cast")])
def test_arithmetic_with_whole_numbers_is_refused(begin: Callable[[Any], Any], operation: str, tmp_path: Path) -> None:
    save(tmp_path / "net", begin)
    with pytest.raises(BuildError, match=rf"computes with them as whole numbers \({operation}\)"):
        load_backbone(str(tmp_path / "net"))


def test_other_pixels_than_uint8_has_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "net", cast)
    with pytest.raises(BuildError, match=r"--pixels -1\.\.1: net takes uint8 pixels, which are 0\.\.255"):
        load_backbone(str(tmp_path / "net"), Asked(pixels="-1..1"))
    assert load_backbone(str(tmp_path / "net"), Asked(pixels="0..255")).input.std == 1.0


def test_a_float_signature_is_preferred_and_stays_as_it_was(tmp_path: Path) -> None:
    import tensorflow as tf

    module = tf.Module()
    module.kernel = tf.Variable(KERNEL)
    specs = {"serving_default": tf.uint8, "floats": tf.float32}
    made = {
        name: tf.function(
            lambda image: {"f": tf.nn.conv2d(tf.cast(image, tf.float32), module.kernel, 1, "SAME")},
            input_signature=[tf.TensorSpec([None, 12, 12, 3], dtype, name="image")],
        ).get_concrete_function()
        for name, dtype in specs.items()
    }
    tf.saved_model.save(module, str(tmp_path / "net"), signatures=made)
    assert load_backbone(str(tmp_path / "net"), Asked(pixels="-1..1")).input.std == 127.5
