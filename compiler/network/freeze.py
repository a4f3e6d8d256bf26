"""Freeze a Keras model into a plain TensorFlow graph that the converters take."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from tlc_edge.compiler.records import InputSpec
from tlc_edge.runtime.quiet import quiet


@dataclass(frozen=True, eq=False)
class Frozen:
    """A concrete function with its variables made constants."""

    function: Any


def serving(model: Any, spec: InputSpec, from_pixels: bool, batch: int | None = 1) -> Any:
    """Return `model` as a `tf.function` of `image`.

    With `from_pixels` it takes uint8 pixels and normalises them itself; without, it takes float32 that is
    normalised already (the int8 lowering turns that step into the input's scale and zero point).
    """
    import tensorflow as tf

    dtype = tf.uint8 if from_pixels else tf.float32
    signature = tf.TensorSpec([batch, spec.height, spec.width, spec.channels], dtype, name="image")

    def serve(image: Any) -> Any:
        if from_pixels:
            image = (tf.cast(image, tf.float32) - spec.mean) * (1.0 / spec.std)
        with _inlined():
            return model(image, training=False)

    return tf.function(serve, input_signature=[signature])


@contextlib.contextmanager
def _inlined() -> Generator[None]:
    """Trace functions within a network as part of its graph: Keras makes one of a grouped convolution."""
    import tensorflow as tf

    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(before)


def freeze(model: Any, spec: InputSpec, from_pixels: bool) -> Frozen:
    """Freeze for batch 1; outputs keep the model's order.

    Without freezing, calibration of a Keras 3 model fails on variable reads.
    """
    with quiet():
        from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

        function = serving(model, spec, from_pixels).get_concrete_function()
        return Frozen(convert_variables_to_constants_v2(function))
