"""The calibration set: the training images whose activations set the int8 ranges."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def choose_calibration(
    targets: NDArray[np.int64], train: NDArray[np.int64], count: int, seed: int
) -> NDArray[np.int64]:
    """Return up to `count` of the indices `train`, the same number of each class where it has them.

    A class seen more often in training must not decide the ranges alone. Seeded; classes take turns.
    """
    generator = np.random.default_rng(seed)
    queues = [generator.permutation(train[targets[train] == c]).tolist() for c in np.unique(targets[train])]
    chosen: list[int] = []
    while len(chosen) < min(count, len(train)):
        for queue in queues:
            if queue and len(chosen) < count:
                chosen.append(queue.pop())
    return np.array(chosen, np.int64)
