"""The grid of int8 weights: in every scheme that has them a scale for each output channel, its largest weight at 127.

Weights that lie on the grid come out of the converters as they are: they find the same grid again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_INPUTS: dict[str, list[tuple[int, ...]]] = {
    "Conv2D": [(0, 1, 2)],
    "DepthwiseConv2D": [(0, 1)],
    "SeparableConv2D": [(0, 1), (0, 1, 2)],
    "Conv2DTranspose": [(0, 1, 3)],
    "Dense": [(0,)],
}
"""Layers with int8 weights: for each of their kernels the axes that one output channel spans."""

KINDS = frozenset(_INPUTS)


def on_grid(kind: str, weights: Sequence[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    """Return a layer's kernels rounded to the grid, without its bias; `kind` is one of `KINDS`."""
    return [_rounded(kernel, axes) for kernel, axes in zip(weights, _INPUTS[kind], strict=False)]


def _rounded(kernel: NDArray[np.float32], axes: tuple[int, ...]) -> NDArray[np.float32]:
    scale = np.abs(kernel.astype(np.float64)).max(axis=axes, keepdims=True) / 127
    scale[scale == 0] = 1.0
    return np.asarray(np.rint(kernel / scale) * scale, np.float32)


def with_bias(layer: Any, weights: Sequence[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    """Return a layer's weights with a bias at the end, of zeros where it has none."""
    if layer.use_bias:
        return list(weights)
    kind, kernel = type(layer).__name__, weights[-1]
    if kind == "DepthwiseConv2D":
        channels = kernel.shape[2] * kernel.shape[3]
    else:
        channels = kernel.shape[2 if kind == "Conv2DTranspose" else -1]
    return [*weights, np.zeros(channels, np.float32)]
