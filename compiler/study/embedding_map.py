"""The embeddings of a data set as points in a plane, so that a person can see which classes lie apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.cache.once import arrays_once
from tlc_edge.compiler.records import Floats
from tlc_edge.compiler.toolchain import versions
from tlc_edge.runtime.vectors import unit_rows

_MOST = 300  # points of each kind: more hide each other, and make the page heavy
_FEW = 30  # below, neighbourhoods are too small for t-SNE
_PERPLEXITY = 30.0
_ITERATIONS = 500
_FORMAT = 1  # rises when the same embeddings would be laid out otherwise


@dataclass(frozen=True, eq=False)
class EmbeddingMap:
    """Points in the plane: some of the training images, then some of the held-out ones."""

    method: str
    """`t-SNE` or `PCA`."""
    train: NDArray[np.int64]
    """Indices of the training images that are shown."""
    held_out: NDArray[np.int64]
    """Indices of the held-out images that are shown."""
    points: Floats
    """[len(train) + len(held_out), 2]"""


def draw_map(
    train: Floats,
    classes: NDArray[np.int64],
    held_out: Floats,
    truth: NDArray[np.int64],
    seed: int,
    cache: str | None = "off",
) -> EmbeddingMap:
    """Lay out embeddings ([M, D] and [N, D]) so that what is near by the cosine stays near.

    t-SNE (van der Maaten and Hinton 2008), begun from the principal components; these alone where there are few images.
    On one thread, as the order of its sums decides where points go: the same build gives the same map.
    """
    shown, judged = _thin(classes), _thin(truth)
    x = unit_rows(np.concatenate([train[shown], held_out[judged]]))
    components = _principal(x)
    if len(x) < _FEW or not components.std(axis=0).min() > 1e-6:
        return EmbeddingMap("PCA", shown, judged, components)
    start = components / components[:, 0].std() * 1e-4
    words = ["map", _FORMAT, versions("numpy", "scipy", "scikit-learn"), _PERPLEXITY, _ITERATIONS, seed]
    found = arrays_once(cache, words, [x, start], lambda: {"points": _lay_out(x, start, seed)})
    return EmbeddingMap("t-SNE", shown, judged, found["points"])


def _lay_out(x: Floats, start: Any, seed: int) -> Floats:
    """Return points [N, 2] of unit vectors [N, D] by t-SNE, begun at `start`."""
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    perplexity = min(_PERPLEXITY, (len(x) - 1) / 3)
    with threadpool_limits(1):
        made = TSNE(perplexity=perplexity, init=start, random_state=seed, max_iter=_ITERATIONS).fit_transform(x)
    return np.asarray(made, np.float32)


def _principal(x: Floats) -> Floats:
    """Return the first two principal components, [N, 2], their signs fixed by the largest coordinate."""
    centred = x - x.mean(axis=0)
    # Of the covariance: five times as fast as a singular value decomposition of all points.
    _, directions = np.linalg.eigh((centred.T @ centred).astype(np.float64))
    found = np.zeros((len(x), 2), np.float32)
    for i in range(min(2, centred.shape[1])):
        column = centred @ directions[:, -1 - i]
        found[:, i] = column * (1 if column[np.argmax(np.abs(column))] >= 0 else -1)
    return found


def _thin(classes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the indices of up to `_MOST` images, evenly from the list in the order of their classes."""
    order = np.argsort(classes, kind="stable")
    if len(order) > _MOST:
        order = order[np.linspace(0, len(order) - 1, _MOST).astype(np.int64)]
    return np.asarray(order, np.int64)
