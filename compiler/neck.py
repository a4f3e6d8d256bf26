"""The neck: a linear projection from pooled features to the embedding."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .records import Floats, Neck, Trunk

WIDTH = 256


def make_neck(trunk: Trunk, train: Floats, width: int = WIDTH) -> Neck:
    """Make the projection for `trunk`, centred on the mean of the training features `train` [N, F].

    From the shaved-off classifier where there is one that reads these very features: the top left
    singular vectors of its weights, which span the directions along which the backbone told its own
    classes apart; they need no data. Else from a PCA of the training features, else none.
    """
    classifier = trunk.backbone.classifier
    at_default = trunk.layer == trunk.backbone.default_shave and classifier and trunk.pool == classifier.pool
    mean = train.mean(axis=0, dtype=np.float64)
    if trunk.width <= width:
        return Neck("none", trunk.width)
    if classifier is not None and at_default and classifier.kernel.shape[0] == trunk.width:
        # A shift common to all classes leaves softmax as it is, so it is taken out first.
        kind, matrix = "classifier", classifier.kernel - classifier.kernel.mean(axis=1, keepdims=True)
    elif len(train) > width:
        kind, matrix = "pca", (train - mean).T
    else:
        return Neck("none", trunk.width)
    kernel = _left_singular(matrix, width)
    return Neck(kind, width, kernel.astype(np.float32), (-mean @ kernel).astype(np.float32))


def _left_singular(matrix: NDArray[Any], width: int) -> NDArray[np.float64]:
    from threadpoolctl import threadpool_limits

    # One thread is three times as fast here as the two of a two-core machine, which wait for one another.
    with threadpool_limits(1, "blas"):
        vectors, _, _ = np.linalg.svd(matrix.astype(np.float64), full_matrices=False)
    top = vectors[:, :width]
    # The sign of a singular vector is arbitrary: fix it, so that equal builds give equal bytes.
    signs = np.sign(top[np.abs(top).argmax(axis=0), np.arange(top.shape[1])])
    return np.ascontiguousarray(top * signs)
