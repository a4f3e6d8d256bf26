"""Choose the few training images of each class that travel with the bundle."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.options import PER_CLASS
from tlc_edge.compiler.records import Floats
from tlc_edge.runtime.vectors import quantize_row, unit_rows

_POOL = 400  # images of a class to choose from; beyond, evenly thinned


def choose_exemplars(
    embeddings: Floats, targets: NDArray[np.int64], classes: int, per_class: int = PER_CLASS
) -> NDArray[np.int64]:
    """Return indices of at most `per_class` rows of each class that together cover it, grouped by class.

    Greedy facility location (Nemhauser et al. 1978): each choice is the row that most raises the sum,
    over the class, of the cosine to the nearest chosen row. Unlike the rows nearest the mean it reaches
    the corners of a class, and unlike farthest-first it is not drawn to outliers.
    """
    unit = unit_rows(embeddings)
    chosen: list[int] = []
    for c in range(classes):
        members = np.flatnonzero(targets == c)
        if len(members) > _POOL:
            members = members[np.linspace(0, len(members) - 1, _POOL).astype(np.int64)]
        similar = unit[members] @ unit[members].T
        covered = np.full(len(members), -1.0, np.float32)
        free = np.ones(len(members), np.bool_)
        for _ in range(min(per_class, len(members))):
            gain = np.maximum(similar, covered).sum(axis=1)
            best = int(np.argmax(np.where(free, gain, -np.inf)))  # copies of one image gain nothing, and tie
            chosen.append(int(members[best]))
            covered = np.maximum(covered, similar[best])
            free[best] = False
    return np.array(chosen, np.int64)


def pack_exemplars(embeddings: Floats, labels: NDArray[np.int64]) -> bytes:
    """Return `exemplars.npz`: int8 `vectors` [N, D], float32 `scales` [N], int32 `labels` [N]."""
    rows = [quantize_row(e) for e in embeddings]
    out = io.BytesIO()
    np.savez(
        out,
        vectors=np.array([r for r, _ in rows], np.int8).reshape(embeddings.shape),
        scales=np.array([s for _, s in rows], np.float32),
        labels=labels.astype(np.int32),
    )
    return out.getvalue()
