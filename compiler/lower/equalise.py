"""Equalise: give each channel of a linear stream its share of the 8 bits, exactly.

Between convolutions without an activation, as in the bottlenecks of MobileNetV2 and the sums of their residual blocks,
a channel may be divided by any number that is multiplied into the weights that read it (Nagel et al. 2019, Data-Free
Quantization, section 4.1; through a whole residual stream here, and never through a ReLU6, which clips). One scale
rounds the whole tensor, so a wide channel leaves few levels to the narrow ones; a channel that is too wide for others
costs the weights that read it, hence the exponent below 1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.network.walk import Step, Weights, readers, start, steps

from .weight_grid import KINDS, with_bias

_EXPONENT = 0.75
_NARROWEST = 1e-3
"""Of the widest channel's range: a channel that hardly moves is not blown up further."""
_NOISE_IMAGES = 16
_LINEAR = frozenset({"ZeroPadding2D", "Cropping2D", "MaxPooling2D", "AveragePooling2D", "Add"})
"""They give each channel times a factor where they read it so, as do ReLUs that only clip at zero."""


def equalise(model: Any, images: NDArray[np.float32], noise: NDArray[np.float32]) -> Weights:
    """Return the weights that change: with them the network gives what it gave, up to float32's rounding.

    Args:
        model: a flat functional model; it stays as it is.
        images: normalised images [N, H, W, C] to measure the channels' ranges on.
        noise: further ones, like `noise_images`. Channels that `images` leaves narrow keep room for other pictures.
    """
    found = steps(model)
    streams = _streams(model, found)
    ranges = _ranges(model, found, {key for stream in streams for key in stream.tensors}, images, noise)
    changed: dict[str, list[NDArray[np.float64]]] = {}
    for stream in streams:
        shares = [ranges[key] / max(float(ranges[key].max()), 1e-30) for key in stream.tensors]
        share = np.sqrt(np.mean(np.square(shares), axis=0))
        # In steps of 2^(1/4), so that the last bits of a range decide nothing.
        factor = 2 ** (np.rint(4 * _EXPONENT * np.log2(np.maximum(share, _NARROWEST))) / 4)
        for step in (*stream.writers, *stream.readers):
            layer = step.layer
            if layer.name not in changed:
                changed[layer.name] = [w.astype(np.float64) for w in with_bias(layer, layer.get_weights())]
        for step in stream.writers:
            _divide_outputs(step.kind, changed[step.layer.name], factor)
        for step in stream.readers:
            _multiply_inputs(step.kind, changed[step.layer.name], factor)
    return {name: [w.astype(np.float32) for w in weights] for name, weights in changed.items()}


def noise_images(height: int, width: int, channels: int) -> NDArray[np.uint8]:
    """Return images [N, height, width, channels] of noise with the spectrum of photos, 1 / frequency; always the same.

    They drive channels that a narrow set of images leaves at rest.
    """
    generator = np.random.default_rng(0)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    spectrum = 1 / np.maximum(frequency, 1 / max(height, width))
    made: list[NDArray[np.uint8]] = []
    for _ in range(_NOISE_IMAGES):
        amplitudes = spectrum[..., None] ** generator.uniform(0.8, 1.3)
        phases = generator.random((*spectrum.shape, channels))
        x = np.fft.irfft2(amplitudes * np.exp(2j * np.pi * phases), (height, width), axes=(0, 1))
        x /= x.std()
        grey, colour = x[..., :1], generator.uniform(0, 1)
        x = grey + colour * (x - grey)
        pixels = 127 + generator.uniform(30, 80) * x + generator.uniform(-60, 60)
        made.append(np.clip(pixels, 0, 255).astype(np.uint8))
    return np.stack(made)


@dataclass(frozen=True, eq=False)
class _Stream:
    """Tensors whose channels can only be scaled together."""

    tensors: tuple[int, ...]
    """ids of those that the device stores."""
    writers: tuple[Step, ...]
    readers: tuple[Step, ...]


def _streams(model: Any, found: Sequence[Step]) -> list[_Stream]:
    """Return the streams that nothing but layers with weights writes and reads."""
    root: dict[int, int] = {}

    def find(key: int) -> int:
        root.setdefault(key, key)
        while root[key] != key:
            key = root[key]
        return key

    uses = Counter(id(step.layer) for step in found)
    fixed = [id(tensor) for tensor in (*model.inputs, *model.outputs)]
    writing: dict[int, Step] = {}
    for step in found:
        if step.kind in KINDS and uses[id(step.layer)] == 1 and _plain(step):
            if _without_activation(step):
                writing[step.outputs[0]] = step
            else:
                fixed.append(step.outputs[0])
        elif _homogeneous(step):
            for key in (*step.inputs[1:], *step.outputs):
                root[find(key)] = find(step.inputs[0])
        else:
            fixed += [*step.inputs, *step.outputs]
    closed = {find(key) for key in fixed}
    reading = readers(found)
    tensors: dict[int, list[int]] = {}
    for key in dict.fromkeys(key for step in found for key in step.outputs):
        tensors.setdefault(find(key), []).append(key)
    streams: list[_Stream] = []
    for key, group in tensors.items():
        writers = tuple(writing[k] for k in group if k in writing)
        readers_ = tuple(step for k in group for step in reading.get(k, []) if step.kind in KINDS)
        if key not in closed and writers and readers_:
            stored = tuple(k for k in group if not _clipped_at_once(reading.get(k, [])))
            streams.append(_Stream(stored, writers, readers_))
    return streams


def _plain(step: Step) -> bool:
    """Return whether each of a layer's channels can be scaled by itself."""
    return getattr(step.layer, "groups", 1) == 1 and getattr(step.layer, "depth_multiplier", 1) in (1, None)


def _without_activation(step: Step) -> bool:
    from keras import activations

    return getattr(step.layer, "activation", None) in (None, activations.linear)


def _homogeneous(step: Step) -> bool:
    if step.kind == "ReLU":
        return step.layer.max_value is None and not step.layer.threshold
    if step.kind == "Add":  # no broadcasting: a vector added to a map would be another stream
        return len(step.inputs) > 1 and len(set(step.shapes)) == 1
    return step.kind in _LINEAR


def _clipped_at_once(reading: Sequence[Step]) -> bool:
    """Return whether a tensor goes nowhere but into a ReLU, which is a part of the layer before it on the device."""
    return len(reading) == 1 and reading[0].kind == "ReLU"


def _ranges(
    model: Any, found: Sequence[Step], wanted: set[int], images: NDArray[np.float32], noise: NDArray[np.float32]
) -> dict[int, NDArray[np.float64]]:
    """Return the largest magnitude of each channel [C] of the tensors `wanted`."""
    import tensorflow as tf

    ranges: dict[int, NDArray[np.float64]] = {}
    for batch in (images, noise):
        values = start(model, tf.constant(batch))
        for step in found:
            given = step.run(values)
            key = step.outputs[0]
            if key in wanted:
                largest = tf.reduce_max(tf.abs(given), axis=list(range(len(given.shape) - 1)))
                ranges[key] = np.maximum(ranges.get(key, 0.0), np.asarray(largest, np.float64))
            step.keep(values, given)
    return ranges


def _divide_outputs(kind: str, weights: list[NDArray[np.float64]], factor: NDArray[np.float64]) -> None:
    kernel, bias = weights[-2], weights[-1]
    by_channel = {"DepthwiseConv2D": factor[:, None], "Conv2DTranspose": factor[:, None]}
    weights[-2:] = [kernel / by_channel.get(kind, factor), bias / factor]


def _multiply_inputs(kind: str, weights: list[NDArray[np.float64]], factor: NDArray[np.float64]) -> None:
    weights[0] = weights[0] * (factor if kind == "Conv2DTranspose" else factor[:, None])
