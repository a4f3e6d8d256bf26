"""Choose the golden samples: held-out images whose answers every device must reproduce."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tlc_edge.compiler.records import Floats

COUNT = 6


def choose_golden(probabilities: Floats, count: int = COUNT) -> NDArray[np.int64]:
    """Return indices of up to `count` images of `probabilities` [N, C]: half the least certain, half spread out.

    An image near a decision boundary is the first to change its answer when something is off, and each of them is
    near another boundary where there are as many; the others show that clear cases stay clear, of as many classes.
    """
    ranked = np.argsort(probabilities, axis=1, kind="stable")
    if ranked.shape[1] > 1:
        best, second = ranked[:, -1], ranked[:, -2]
        rows = np.arange(len(ranked))
        margin = probabilities[rows, best] - probabilities[rows, second]
    else:  # without a head all are alike, and the images are spread out
        best = second = np.zeros(len(ranked), np.int64)
        margin = np.zeros(len(ranked))
    order = np.argsort(margin, kind="stable")
    boundaries = [(min(a, b), max(a, b)) for a, b in zip(best.tolist(), second.tolist(), strict=True)]
    sharp = _first_of_each(order[: max(count // 2, len(order) // 10)], boundaries, count // 2)
    sharp += [i for i in order.tolist() if i not in sharp][: count // 2 - len(sharp)]
    rest = np.array([i for i in order.tolist() if i not in sharp], np.int64)
    few = min(len(rest), count - len(sharp))
    # The middle and the far end; the near end is as sharp as those that were taken.
    wanted = ((len(rest) - 1) * np.arange(1, few + 1) / max(1, few)).astype(np.int64)
    clear: list[int] = []
    for place in wanted.tolist()[::-1]:  # the clearest first: it is there whatever its class
        near = sorted((i for i in range(len(rest)) if int(rest[i]) not in clear), key=lambda i: abs(i - place))
        taken = {int(best[i]) for i in clear}
        fresh = [i for i in near if abs(i - place) <= len(rest) // (2 * count) and int(best[rest[i]]) not in taken]
        clear.append(int(rest[(fresh or near)[0]]))
    return np.unique(np.array([*sharp, *clear], np.int64))


def _first_of_each(order: NDArray[np.int64], kinds: list[tuple[int, int]], count: int) -> list[int]:
    """Return the first of each kind, `count` at most."""
    found: dict[tuple[int, int], int] = {}
    for i in order.tolist():
        found.setdefault(kinds[i], i)
    return list(found.values())[:count]


def png(image: NDArray[np.uint8]) -> bytes:
    """Return an image [H, W, C] as PNG, without loss."""
    out = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(out, "PNG", optimize=True)
    return out.getvalue()
