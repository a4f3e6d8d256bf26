"""Which examples of a class become one, so that those that stay say as much as all of them did.

At a limit the two whose becoming one moves the examples they speak for the least are merged, again and again. It is
Ward's rule (1963) on the sphere: of rows that speak for n and m examples, the cost is `n m / (n + m) · (1 - cosine)`.
What comes of them is their mean by number: its direction that of the sum of the unit rows, its length the mean of
their lengths. Near-duplicates go together first, a rare view stays by itself, and a crowd keeps its weight.
docs/gallery.md measures it against oldest-first, random, and one of a pair giving way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

RUN = 1024
"""Examples of a class compared at once; a larger class is thinned run by run, in the order of enrolment."""

_ALIKE = 1e-6  # nearer than this is the same: the roundings of two runtimes must not decide who goes first


@dataclass(frozen=True, eq=False)
class Mean:
    """What merged rows become: a vector [D] and how many examples it is the mean of."""

    vector: NDArray[np.float32]
    stands_for: int


def groups(unit: NDArray[np.float32], stands_for: Sequence[int], count: int) -> list[list[int]]:
    """Return which of the unit rows [N, D] become one, so that there are `count` fewer; single rows are left out.

    At least one row stays. Of equals the earlier pair goes first. The rows of a group ascend.
    """
    weights = np.array(stands_for, np.float64)
    members = [[row] for row in range(len(unit))]
    middle, sums = unit.copy(), unit * weights[:, None]
    costs = _costs(1.0 - (unit @ unit.T).astype(np.float64), weights[:, None], weights)
    np.fill_diagonal(costs, np.inf)
    nearest = costs.argmin(axis=1)
    every = np.arange(len(unit))
    for _ in range(min(count, len(unit) - 1)):
        row = int(np.argmin(costs[every, nearest]))
        # Of a pair of equal cost both rows have it; the earlier is met first.
        other = int(nearest[row])
        members[row] += members[other]
        members[other] = []
        sums[row] += sums[other]
        weights[row] += weights[other]
        middle[row] = sums[row] / (np.linalg.norm(sums[row]) or 1.0)
        costs[other, :] = np.inf
        costs[:, other] = np.inf
        renewed = _costs(1.0 - (middle @ middle[row]).astype(np.float64), weights, weights[row])
        renewed[[not m for m in members]] = np.inf
        renewed[row] = np.inf
        costs[row, :] = renewed
        costs[:, row] = renewed
        changed = (nearest == row) | (nearest == other)
        changed[row] = True
        for one in np.flatnonzero(changed).tolist():
            nearest[one] = int(costs[one].argmin())
        closer = renewed < costs[every, nearest]
        nearest[closer] = row
    return sorted(sorted(rows) for rows in members if len(rows) > 1)


def mean_of(vectors: Sequence[NDArray[np.int8]], scales: Sequence[float], stands_for: Sequence[int]) -> Mean:
    """Return what rows become: stored vectors [n][D] with their scales, and how many examples each speaks for.

    Summed one row after the other in float64, so that every runtime comes to the same bits.
    """
    total = np.zeros(len(vectors[0]), np.float64)
    reach = 0.0
    for vector, scale, weight in zip(vectors, scales, stands_for, strict=True):
        row = vector.astype(np.float64)
        length = float(np.sqrt(np.square(row).sum()))  # of whole numbers: exact before the root
        total += row * (weight / (length or 1.0))
        reach += weight * length * scale
    number = sum(stands_for)
    size = float(np.linalg.norm(total))
    if size < 1e-9 * number:  # they point apart and leave no direction: the first has its own
        total, size = vectors[0].astype(np.float64), float(np.linalg.norm(vectors[0].astype(np.float64))) or 1.0
    return Mean((total * (reach / number / size)).astype(np.float32), number)


def _costs(distance: NDArray[np.float64], of: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    return of * other / (of + other) * np.maximum(distance, _ALIKE)


def runs(size: int, count: int, turn: int) -> list[tuple[slice, int]]:
    """Return the runs of a class of `size`, and how many of `count` go from each; `turn` says who comes first."""
    pieces = -(-size // RUN)
    borders = [size * i // pieces for i in range(pieces + 1)]
    spans = [slice(a, b) for a, b in pairwise(borders)]
    shares = [count * (s.stop - s.start) // size for s in spans]
    for i in range(count - sum(shares)):
        shares[(turn + i) % pieces] += 1
    return list(zip(spans, shares, strict=True))
