"""The neck: a linear projection from pooled features to the embedding."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.cache.once import arrays_once
from tlc_edge.compiler.network.facts import facts_of
from tlc_edge.compiler.records import Floats, Neck, Trunk, signed_root

WIDTH = 256
"""Of a PCA; and classifiers of fewer classes than that are of no use."""
OF_CLASSIFIER = 512
"""At most, of the directions along which a classifier tells its classes apart. (`benchmarks/few_shot.py`: 256 of them,
and features in place of their roots, cost what is enrolled later a point and more.)"""
# From here on (flattened feature maps) a gallery of whole features is too large for a device, and the few
# directions that the training images span are the lesser evil.
_UNWIELDY = 4096


def make_neck(
    trunk: Trunk, train: Floats, width: int | None = None, *, root: bool = False, cache: str | None = "off"
) -> Neck:
    """Make the projection for `trunk`, centred on the mean of the training features `train` [N, F].

    From the shaved-off classifier where there is one that reads these very features: the top left
    singular vectors of its weights, which span the directions along which the backbone told its own
    classes apart; they need no data. Else from a PCA of the training features, else none. `width` is that of either.

    With `root`, a projection made from a classifier reads the square roots of features that a ReLU gives: a
    few that are large no longer outshout the many that are small.

    The singular vectors of a matrix are kept in `cache`, which is as in `caching`.
    """
    classifier = trunk.backbone.classifier
    reads_these = classifier and trunk.layer == trunk.backbone.default_shave and trunk.pool == classifier.pool
    mean = train.mean(axis=0, dtype=np.float64)
    least = WIDTH if width is None else width
    if trunk.width <= least:
        return Neck("none", trunk.width)
    # A classifier of a few classes spans too few directions to tell new classes apart.
    if (
        classifier is not None
        and reads_these
        and len(classifier.kernel) == trunk.width
        and len(classifier.bias) > least
    ):
        # A shift common to all classes leaves softmax as it is, so it is taken out first.
        kind, matrix = "classifier", classifier.kernel - classifier.kernel.mean(axis=1, keepdims=True)
        width = min(OF_CLASSIFIER, len(classifier.bias) - 1, trunk.width) if width is None else width
        root = root and facts_of(trunk).never_negative
        mean = signed_root(train).mean(axis=0, dtype=np.float64) if root else mean
    elif len(train) > least or trunk.width > _UNWIELDY:
        width = min(least, len(train) - 1)
        kind, matrix, root = "pca", (train - mean).T, False
    else:
        return Neck("none", trunk.width)
    words = ["left singular", 1, width, np.__version__]
    kernel = arrays_once(cache, words, [matrix], lambda: {"kernel": _left_singular(matrix, width)})["kernel"]
    return Neck(kind, kernel.shape[1], kernel.astype(np.float32), (-mean @ kernel).astype(np.float32), root)


def _left_singular(matrix: NDArray[Any], width: int) -> NDArray[np.float64]:
    from threadpoolctl import threadpool_limits

    # One thread is three times as fast here as the two of a two-core machine, which wait for one another.
    with threadpool_limits(1, "blas"):
        vectors, _, _ = np.linalg.svd(matrix.astype(np.float64), full_matrices=False)
    top = vectors[:, :width]
    # The sign of a singular vector is arbitrary: fix it, so that equal builds give equal bytes.
    signs = np.sign(top[np.abs(top).argmax(axis=0), np.arange(top.shape[1])])
    return np.ascontiguousarray(top * signs)
