"""Normalise channel by channel inside the graph: in the weights of the first convolution where that is exact.

What a network was trained on can have a mean and a deviation for each channel; the input's contract has
one of each for all. The rest, `y[c] = x[c] * scale[c] + offset[c]`, is a linear map like the convolution
after it, so it goes into that one's weights. Zeros that pad `y` are the catch: in a kernel that hangs
over the border the offsets must be left out too. So `x` gets one more channel that is the same
everywhere but in the padding, and the kernel reads the offsets from there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.records import InputSpec

from .pixels import Pixels

NAME = "normalise"


def normalise(image: Any, pixels: Pixels, channels: int) -> Any:
    """Return the image with the map as a layer of its own, for a network whose first layer cannot take it in."""
    from keras import layers

    scale = np.broadcast_to(np.asarray(pixels.scale), channels)
    offset = np.broadcast_to(np.asarray(pixels.offset), channels).astype(np.float32)
    # A 1x1 convolution, and not a multiplication: the converters fold and quantize it like any other.
    if not pixels.bgr:
        layer: Any = layers.DepthwiseConv2D(1, name=NAME)
        kernel = scale.reshape(1, 1, channels, 1)
    else:
        layer = layers.Conv2D(channels, 1, name=NAME)
        kernel = np.diag(scale)[::-1].reshape(1, 1, channels, channels)
    output = layer(image)
    layer.set_weights([kernel.astype(np.float32), offset])
    return output


def presence(pixels: Pixels, spec: InputSpec) -> float | None:
    """Return the value of the further channel, in units of the normalised input; None where no value suits.

    It is a whole number of grey levels from the mean, so that int8 has it exactly, and three times the largest
    offset, so that the kernel's weights for it are no larger than those for the image.
    """
    levels = np.ceil(3 * np.max(np.abs(np.asarray(pixels.offset) / np.asarray(pixels.scale))) * spec.std)
    return float(levels / spec.std) if 1 <= levels <= 255 - spec.mean else None


def widen(image: Any, value: float) -> Any:
    """Return the image [N, H, W, C] with one more channel [N, H, W, C + 1] that is `value` everywhere."""
    return _further_channel()(value, name=NAME)(image)


def _further_channel() -> Any:
    """Return the layer's class; made late, because importing Keras takes seconds."""
    from keras import layers, ops

    base: Any = layers.Layer

    class FurtherChannel(base):  # type: ignore[misc]  # Keras is untyped
        """Adds a channel that is the same everywhere."""

        def __init__(self, value: float, **rest: Any) -> None:
            super().__init__(trainable=False, **rest)
            self._value = value

        def call(self, image: Any) -> Any:
            if image.shape[0] is None:
                return ops.pad(image, ((0, 0), (0, 0), (0, 0), (0, 1)), constant_values=self._value)
            # A TFLite file has one image: a constant beside it can be run by accelerators that cannot pad with a value.
            further = np.full((*image.shape[:-1], 1), self._value, np.float32)
            return ops.concatenate([image, ops.convert_to_tensor(further)], axis=-1)

        def get_config(self) -> dict[str, Any]:
            return {"name": self.name, "value": self._value}

    return FurtherChannel


def take_in(
    kernel: NDArray[Any], bias: NDArray[Any], pixels: Pixels, value: float | None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return kernel [H, W, C, F] and bias [F] of a convolution that reads the image as it is.

    With a `value` the kernel has the further channel [H, W, C + 1, F]; without one no padding is read, and the
    offsets go into the bias.
    """
    weights = kernel.astype(np.float64)
    scale = np.broadcast_to(np.asarray(pixels.scale, np.float64), weights.shape[2])
    offset = np.broadcast_to(np.asarray(pixels.offset, np.float64), weights.shape[2])
    at_each = np.einsum("hwcf,c->hwf", weights, offset)
    weights = weights * scale[:, None]
    if pixels.bgr:
        weights = weights[:, :, ::-1]
    if value is None:
        return weights.astype(np.float32), (bias + at_each.sum((0, 1))).astype(np.float32)
    wide = np.concatenate([weights, at_each[:, :, None] / value], axis=2)
    return wide.astype(np.float32), bias.astype(np.float32)
