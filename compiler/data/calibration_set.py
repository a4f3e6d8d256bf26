"""The calibration set: the training images whose activations set the int8 ranges."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tlc_edge.runtime.bundle.manifest import Preprocessing

from .augment import copies
from .decode import images_of
from .records import Sample


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


def with_copies(samples: Sequence[Sample], preprocessing: Preprocessing, seed: int) -> NDArray[np.uint8]:
    """Return the images of `samples`, and each once more as another resize filter would give it, [2 N, H, W, C]."""
    (view,) = copies(("resize-filter",), 1, seed)
    varied = [view.load(sample.source, preprocessing) for sample in samples]
    return np.concatenate([images_of(samples, preprocessing), np.stack(varied)])
