"""Which examples of a class can go so that those that stay still cover it.

Every example stands for itself and for those that gave way to it. Next to go is the one whose going moves
the fewest of these the least: that of the smallest product of the number it stands for and its distance,
1 - cosine, to its nearest neighbour. The neighbour then stands for them too. It is Ward's merging (1963),
with the neighbour's place for the mean's: near-duplicates go first, a rare view stays, and a crowd of
alike examples keeps its weight. docs/gallery.md measures it against oldest-first and random.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

RUN = 1024
"""Examples of a class compared at once; a larger class is thinned run by run, in the order of enrolment."""


def give_way(unit: NDArray[np.float32], stands_for: Sequence[int], count: int) -> list[tuple[int, int]]:
    """Return which `count` of the unit rows [N, D] go, in order, each with the row that takes over from it.

    At least one row stays. Of equals the earlier goes.
    """
    weights = np.array(stands_for, np.float64)
    similar = unit @ unit.T
    np.fill_diagonal(similar, -np.inf)
    heirs = similar.argmax(axis=1)
    gone: list[tuple[int, int]] = []
    for _ in range(min(count, len(unit) - 1)):
        distance = 1.0 - similar[np.arange(len(unit)), heirs].astype(np.float64)
        row = int(np.argmin(weights * np.maximum(distance, 1e-9)))
        heir = int(heirs[row])
        gone.append((row, heir))
        weights[heir] += weights[row]
        weights[row] = np.inf
        similar[row, :] = -np.inf  # so that its own distance is infinite
        similar[:, row] = -np.inf
        for orphan in np.flatnonzero(heirs == row).tolist():
            heirs[orphan] = int(similar[orphan].argmax())
    return gone


def runs(size: int, count: int, turn: int) -> list[tuple[slice, int]]:
    """Return the runs of a class of `size`, and how many of `count` go from each; `turn` says who comes first."""
    pieces = -(-size // RUN)
    borders = [size * i // pieces for i in range(pieces + 1)]
    spans = [slice(a, b) for a, b in pairwise(borders)]
    shares = [count * (s.stop - s.start) // size for s in spans]
    for i in range(count - sum(shares)):
        shares[(turn + i) % pieces] += 1
    return list(zip(spans, shares, strict=True))
