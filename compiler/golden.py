"""Choose the golden samples: held-out images whose answers every device must reproduce."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .records import Floats

COUNT = 6


def choose_golden(probabilities: Floats, count: int = COUNT) -> NDArray[np.int64]:
    """Return indices of up to `count` images of `probabilities` [N, C]: half the least certain, half spread out.

    An image near a decision boundary is the first to change its answer when something is off; the others
    show that clear cases stay clear.
    """
    ranked = np.sort(probabilities, axis=1)
    # Without a head all are alike, and the images are spread out.
    margin = ranked[:, -1] - ranked[:, -2] if ranked.shape[1] > 1 else np.zeros(len(ranked))
    order = np.argsort(margin, kind="stable")
    sharp = order[: count // 2]
    rest = order[count // 2 :]
    spread = rest[np.linspace(0, len(rest) - 1, min(len(rest), count - len(sharp))).astype(np.int64)]
    return np.unique(np.concatenate([sharp, spread])).astype(np.int64)


def png(image: NDArray[np.uint8]) -> bytes:
    """Return an image [H, W, C] as PNG, without loss."""
    out = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(out, "PNG", optimize=True)
    return out.getvalue()
