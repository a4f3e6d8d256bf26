"""Unknown: when nothing stored is near enough to what the camera sees.

An image's known-ness is its cosine to the nearest row of the bank. The build measures it on held-out
images of the base classes; on the device each enrolled example adds its own, measured with itself left
out. The threshold is the quantile of these scores at the stated false-alarm rate: it is calibrated, and
moves as classes are enrolled, and is no constant.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .manifest import Unknown

Floats = NDArray[np.float32]
_ENOUGH = 200  # rows of a class to judge it by; beyond, their number would cost more than it tells


def threshold(unknown: Unknown, enrolled: Floats | None = None) -> float:
    """Return the known-ness under which an image is called unknown; -inf where nothing calibrates it."""
    scores = np.asarray(unknown.scores, np.float64)
    if enrolled is not None and len(enrolled):
        scores = np.concatenate([scores, enrolled.astype(np.float64)])
    if unknown.rate <= 0 or not len(scores):
        return float("-inf")
    return float(np.quantile(scores, min(unknown.rate, 1.0)))


def leave_one_out(vectors: Floats, classes: NDArray[np.int64]) -> Floats:
    """Return each row's cosine to the nearest other row of its class; rows alone in their class give none.

    `vectors` [N, D] have unit length, `classes` [N] say which rows belong together.
    """
    scores: list[Floats] = []
    for c in np.unique(classes):
        rows = vectors[classes == c]
        if len(rows) > _ENOUGH:
            rows = rows[np.linspace(0, len(rows) - 1, _ENOUGH).astype(np.int64)]
        if len(rows) < 2:
            continue
        similar = rows @ rows.T
        np.fill_diagonal(similar, -1.0)
        scores.append(similar.max(axis=1))
    return np.concatenate(scores).astype(np.float32) if scores else np.zeros(0, np.float32)
