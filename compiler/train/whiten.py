"""Whiten the neck: directions along which images of one class differ count for less."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.records import NO_LOOKS, Floats, Looks, Neck

# How far the covariance is drawn towards a sphere. With EfficientNet-Lite0 on icons, chess pieces and digits anything
# from 0.4 to 0.8 was within a point, from 2 classes of 3 images to 20 of 15.
SHRINKAGE = 0.6


def whiten(neck: Neck, views: Sequence[Floats], classes: NDArray[np.int64], looks: Looks = NO_LOOKS) -> Neck:
    """Return the neck with its embeddings divided by how much they vary within the classes.

    Two pictures of one thing differ in light, angle and maker; those differences are much the same for other
    things, enrolled later. Divided by them, a cosine tells things apart rather than pictures. (Within-class
    covariance normalization, Hatch, Kajarekar and Stolcke 2006; the shrinkage is Friedman's, 1989.)

    Each of `views` holds the pooled features [N, F] of the same training images, as the float trunk or a lowered
    one sees them: so the quantization error, too, counts as a difference that means nothing. `classes` [N] say
    which class each image is of. `looks` are some of the images as cameras and messengers change them; what that does
    means nothing either. A neck without a matrix is left alone.
    """
    if neck.kernel is None or neck.bias is None:
        return neck
    embedded = np.concatenate([neck.project(view) for view in (*views, *looks.features)])
    root = whitening(
        embedded, np.concatenate([np.tile(classes, len(views)), np.tile(classes[looks.rows], len(looks.features))])
    )
    return replace(neck, kernel=(neck.kernel @ root).astype(np.float32), bias=(neck.bias @ root).astype(np.float32))


def whitening(embedded: Floats, classes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the matrix [D, D] that whitens embeddings [N, D] within their classes [N]; the identity
    where they do not vary.

    It is the symmetric inverse root of the covariance, so that no direction stands out and int8 serves all alike.
    """
    width = embedded.shape[1]
    _, numbers = np.unique(classes, return_inverse=True)
    counts = np.bincount(numbers)
    if not len(counts):
        return np.eye(width)
    of_class = embedded[np.argsort(numbers, kind="stable")].astype(np.float64)
    sums = np.add.reduceat(of_class, np.cumsum(counts) - counts, axis=0)
    within = embedded - (sums / counts[:, None])[numbers]
    from threadpoolctl import threadpool_limits

    # The threads of a BLAS wait for one another longer than they compute here, above all on a busy machine.
    with threadpool_limits(1, "blas"):
        return _inverse_root(within)


def _inverse_root(within: NDArray[np.float64]) -> NDArray[np.float64]:
    width = within.shape[1]
    covariance = within.T @ within
    size = float(np.trace(covariance)) / width
    if not size > 0:
        return np.eye(width)
    covariance = (1 - SHRINKAGE) * covariance / size + SHRINKAGE * np.eye(width)
    values, vectors = np.linalg.eigh(covariance)
    root: NDArray[np.float64] = (vectors / np.sqrt(values)) @ vectors.T
    return root
