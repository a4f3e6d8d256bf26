"""Whiten the neck: directions along which images of one class differ count for less."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.records import NO_LOOKS, Floats, Looks, Neck

# How far the covariance is drawn towards a sphere. With EfficientNet-Lite0 on icons, chess pieces and digits anything
# from 0.4 to 0.8 was within a point, from 2 classes of 3 images to 20 of 15.
SHRINKAGE = 0.6
_ROWS = 4096  # images at a time
_NOTHING = 1e-9  # of the squares of all embeddings: less than that within the classes is rounding


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
    seen = Scatter.empty(neck.width, int(classes.max(initial=-1)) + 1)
    for rows, of in [*((view, classes) for view in views), *((look, classes[looks.rows]) for look in looks.features)]:
        seen += scatter(rows, of, len(seen.counts), neck)
    root = whitening(seen)
    return replace(neck, kernel=(neck.kernel @ root).astype(np.float32), bias=(neck.bias @ root).astype(np.float32))


@dataclass(frozen=True, eq=False)
class Scatter:
    """What a whitening is made from: sums over images, so that those of two sets add up."""

    counts: NDArray[np.int64]
    """Images of each class, [C]."""
    sums: NDArray[np.float64]
    """Of the embeddings of each class, [C, D]."""
    products: NDArray[np.float64]
    """Of every embedding with itself, [D, D]."""

    @classmethod
    def empty(cls, width: int, classes: int) -> Scatter:
        """Return that of no images."""
        return cls(np.zeros(classes, np.int64), np.zeros((classes, width)), np.zeros((width, width)))

    def __add__(self, other: Scatter) -> Scatter:
        return Scatter(self.counts + other.counts, self.sums + other.sums, self.products + other.products)

    def __sub__(self, other: Scatter) -> Scatter:
        return Scatter(self.counts - other.counts, self.sums - other.sums, self.products - other.products)


def scatter(features: Floats, classes: NDArray[np.int64], count: int, neck: Neck | None = None) -> Scatter:
    """Return the sums over images [N, F] of `count` classes, [N], as `neck` embeds them, a few images at a time."""
    from threadpoolctl import threadpool_limits

    width = features.shape[1] if neck is None else neck.width
    sums, products = np.zeros((count, width)), np.zeros((width, width))
    # The threads of a BLAS wait for one another longer than they compute here, above all on a busy machine.
    with threadpool_limits(1, "blas"):
        for start in range(0, len(features), _ROWS):
            part = features[start : start + _ROWS]
            rows = (part if neck is None else neck.project(part)).astype(np.float64)
            products += rows.T @ rows
            np.add.at(sums, classes[start : start + _ROWS], rows)
    return Scatter(np.bincount(classes, minlength=count).astype(np.int64), sums, products)


def whitening(seen: Scatter) -> NDArray[np.float64]:
    """Return the matrix [D, D] that whitens embeddings within their classes; the identity where they do not vary.

    It is the symmetric inverse root of the covariance, so that no direction stands out and int8 serves all alike.
    """
    from threadpoolctl import threadpool_limits

    width = len(seen.products)
    there = seen.counts > 0
    rooted = seen.sums[there] / np.sqrt(seen.counts[there])[:, None]
    with threadpool_limits(1, "blas"):
        within = seen.products - rooted.T @ rooted
        size = float(np.trace(within)) / width
        if not size > _NOTHING * float(np.trace(seen.products)) / width:
            return np.eye(width)
        covariance = (1 - SHRINKAGE) * within / size + SHRINKAGE * np.eye(width)
        values, vectors = np.linalg.eigh(covariance)
        root: NDArray[np.float64] = (vectors / np.sqrt(values)) @ vectors.T
    return root
