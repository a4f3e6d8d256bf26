"""Arithmetic of the image alone, as it stands before the first convolution of a network.

What preprocess_input and its like do to pixels is linear in each pixel's channels: +, -, *, / by constants, Rescaling,
Normalization, channels reversed, picked and put together again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .pixels import Pixels


@dataclass(frozen=True, eq=False)
class Map:
    """Channels as a function of the image's, the same at every place: `matrix @ pixel + offset`."""

    matrix: NDArray[np.float64]
    """[channels, channels of the image]."""
    offset: NDArray[np.float64]
    """[channels]."""
    single: bool = False
    """One channel was picked, and its axis is gone."""

    @staticmethod
    def identity(channels: int) -> Map:
        """Return the image as it is."""
        return Map(np.eye(channels), np.zeros(channels))

    @property
    def idle(self) -> bool:
        """Whether it does nothing."""
        return not self.single and np.array_equal(self.matrix, np.eye(*self.matrix.shape)) and not self.offset.any()

    def scaled(self, scale: NDArray[Any], offset: NDArray[Any]) -> Map:
        """Return this map and after it `y * scale + offset`, each of one number or one for each channel."""
        count = len(self.offset)
        factor = np.broadcast_to(scale, count)
        return Map(self.matrix * factor[:, None], self.offset * factor + np.broadcast_to(offset, count), self.single)

    def picked(self, rows: Any, single: bool = False) -> Map:
        """Return some of its channels, in this order."""
        return Map(self.matrix[rows], self.offset[rows], single)

    def after(self, pixels: Pixels) -> Pixels | None:
        """Return `pixels` and after it this map; None where that mixes channels, or moves any but by reversal."""
        count = len(self.offset)
        if self.single or self.matrix.shape != (count, count):
            return None
        diagonal = np.diag(self.matrix)
        if np.array_equal(self.matrix, np.diag(diagonal)):
            return pixels.then(diagonal, self.offset)
        reversed_ = np.diag(self.matrix[:, ::-1])
        if np.array_equal(self.matrix[:, ::-1], np.diag(reversed_)):
            turned = Pixels(pixels.scale[::-1], pixels.offset[::-1], not pixels.bgr)
            return turned.then(reversed_, self.offset)
        return None


def through(operation: Any, args: Any, kwargs: Mapping[str, Any], find: Any) -> Map | None:
    """Return what a layer or operation makes of maps of the image; None where it is anything but such a map.

    `find(value)` returns the map that an argument stands for, or None for a constant.
    """
    from keras import tree
    from keras.layers import Layer

    values: list[Any] = [*args, *kwargs.values()]
    maps = [m for m in map(find, tree.flatten(values)) if m is not None]
    kind = type(operation).__name__
    if isinstance(operation, Layer):
        if kind == "Concatenate" and operation.axis in (-1, 3):
            return _joined(maps)
        found = _of_layer(operation)
        return None if found is None or len(maps) != 1 else _scaled(maps[0], *found)
    if not str(type(operation).__module__).startswith("keras.src.ops."):
        return None
    if kind in ("Stack", "Concatenate") and len(maps) == len(tree.flatten(args)):
        fits = operation.axis in (-1, 3) and all(m.single == (kind == "Stack") for m in maps)
        return _joined(maps) if fits else None
    if len(maps) != 1:
        return None
    given = maps[0]
    if kind in ("Cast", "Identity"):
        return given if "float" in str(getattr(operation, "dtype", "float32")) else None
    if kind == "Negative":
        return _scaled(given, -1.0, 0.0)
    if kind == "Flip":
        axes = operation.axis if isinstance(operation.axis, tuple | list) else (operation.axis,)
        return given.picked(slice(None, None, -1)) if not given.single and set(axes) <= {-1, 3} else None
    if kind == "GetItem":
        return _got(given, values[1])
    if len(values) == 2:
        first = find(values[0]) is not None
        return _with_constant(kind, given, values[1] if first else values[0], first)
    return None


def _with_constant(kind: str, given: Map, constant: Any, first: bool) -> Map | None:
    try:
        value = np.asarray(constant, np.float64)
    except (TypeError, ValueError):
        return None
    if kind == "Add":
        return _scaled(given, 1.0, value)
    if kind == "Subtract":
        return _scaled(given, 1.0, -value) if first else _scaled(given, -1.0, value)
    if kind == "Multiply":
        return _scaled(given, value, 0.0)
    if kind in ("Divide", "TrueDivide") and first and value.all():
        return _scaled(given, 1 / value, 0.0)
    return None


def _of_layer(layer: Any) -> tuple[Any, Any] | None:
    """Return scale and offset of a layer that normalises its input."""
    kind = type(layer).__name__
    if kind == "Rescaling":
        return layer.scale, layer.offset
    if kind == "Normalization" and not getattr(layer, "invert", False):
        mean, variance = layer.mean, layer.variance
        if layer.input_mean is None:  # the variables, and not what the layer once computed from them
            mean, variance = (np.reshape(v, layer.mean.shape) for v in (layer.adapt_mean, layer.adapt_variance))
        # As the layer itself does it, so that a variance of zero is no trouble.
        deviation = np.maximum(np.sqrt(np.asarray(variance, np.float64)), 1e-7)
        return 1 / deviation, -np.asarray(mean, np.float64) / deviation
    return None


def _scaled(given: Map, scale: Any, offset: Any) -> Map | None:
    """Return the map with both after it; None where they differ from place to place."""
    count = 1 if given.single else len(given.offset)
    both = [np.asarray(v, np.float64) for v in (scale, offset)]
    fit = all(v.size == 1 or (v.size == count == v.shape[-1] and v.ndim <= 4) for v in both)
    return given.scaled(both[0].ravel(), both[1].ravel()) if fit else None


def _joined(maps: Sequence[Map]) -> Map:
    return Map(np.concatenate([m.matrix for m in maps]), np.concatenate([m.offset for m in maps]))


def _got(given: Map, key: Any) -> Map | None:
    """Return what `x[key]` is, where it takes every place and only the channels change."""
    keys = list(key) if isinstance(key, tuple | list) else [key]
    if given.single or not keys or sum(k is Ellipsis for k in keys) > 1:
        return None
    if keys[0] is Ellipsis:
        keys = [slice(None)] * (5 - len(keys)) + keys[1:]
    whole = all(isinstance(k, slice) and k == slice(None) for k in keys[:3])
    if len(keys) != 4 or not whole:
        return None
    if isinstance(keys[3], slice):
        return given.picked(keys[3])
    single = isinstance(keys[3], int) and not isinstance(keys[3], bool)
    return given.picked(slice(keys[3], keys[3] + 1 or None), True) if single else None
