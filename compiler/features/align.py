"""Align: make up for what rounding does to every image alike, at no cost on the device.

Rounding inside an int8 trunk shifts each feature and stretches it a little, on average. Both are seen on the training
images, and both are undone by the first layers after the trunk: their weights take one factor and offset per feature.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.records import Dense, Floats, Fused, signed_root

_TOWARDS_NONE = 0.1
"""Of the features' mean variance: where a feature varies less, its factor is drawn towards 1, as it is badly known."""
_LIMITS = (0.5, 2.0)
_ALIKE = 0.5  # correlation of all features to the float ones, below which there is nothing to align


@dataclass(frozen=True, eq=False)
class Alignment:
    """A factor and an offset for each feature of a trunk, [F] each."""

    factor: NDArray[np.float64]
    offset: NDArray[np.float64]
    root: Alignment | None = None
    """Of the features' square roots, for a neck that reads those."""

    def for_neck(self, features: Floats) -> Floats:
        """Return a trunk's features [N, F] as the neck is to read them: like the float trunk's, on average."""
        if self.root is None:
            return self.apply(features)
        aligned = self.root.apply(signed_root(features))
        return np.copysign(np.square(aligned), aligned)

    def apply(self, features: Floats) -> Floats:
        """Return a trunk's features [N, F] as those of the float trunk, on average."""
        return np.asarray(features * self.factor + self.offset, np.float32)

    def fold(self, fused: Fused) -> Fused:
        """Return head and neck for features as they come: they give what the given ones do for aligned features."""
        head, neck = fused.head, fused.neck
        if head.layers:
            head = replace(head, layers=(self._folded(head.layers[0]), *head.layers[1:]))
        if neck.kernel is not None and neck.bias is not None:
            layer = (self.root or self)._folded(Dense(neck.kernel, neck.bias, "linear"))
            neck = replace(neck, kernel=layer.kernel, bias=layer.bias)
        return replace(fused, head=head, neck=neck)

    def _folded(self, layer: Dense) -> Dense:
        kernel = layer.kernel.astype(np.float64)
        bias = (layer.bias + self.offset @ kernel).astype(np.float32)
        return replace(layer, kernel=(self.factor[:, None] * kernel).astype(np.float32), bias=bias)


def align(device: Floats, floats: Floats, root: bool = False) -> Alignment:
    """Return what brings a trunk's features of the training images, [M, F], nearest to the float trunk's.

    By least squares for each feature; with `root`, for their square roots as well, which the neck reads. A trunk that
    hardly sees what the float one does is left as it is: an offset would only hide that.
    """
    found = _align(device, floats)
    return replace(found, root=_align(signed_root(device), signed_root(floats))) if root else found


def _align(device: Floats, floats: Floats) -> Alignment:
    x, y = device.astype(np.float64), floats.astype(np.float64)
    mean_x, mean_y = x.mean(axis=0), y.mean(axis=0)
    variance = np.square(x - mean_x).mean(axis=0)
    common = ((x - mean_x) * (y - mean_y)).mean(axis=0)
    lengths = np.sqrt(float(variance.sum()) * float(np.square(y - mean_y).mean(axis=0).sum()))
    if not float(common.sum()) > _ALIKE * lengths:
        return Alignment(np.ones_like(mean_x), np.zeros_like(mean_x))
    pull = _TOWARDS_NONE * float(variance.mean())
    factor = np.clip((common + pull) / np.maximum(variance + pull, 1e-300), *_LIMITS)
    return Alignment(factor, mean_y - factor * mean_x)
