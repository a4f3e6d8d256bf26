"""The calibration set: the training images whose activations set the int8 ranges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tlc_edge.runtime.bundle.manifest import Preprocessing

from .augment import copies
from .decode import images_of
from .prepared import Data
from .records import Sample

_MORE = 5  # times as many, where they turn out to be too few


@dataclass(frozen=True, eq=False)
class CalibrationSet:
    """The images that set the int8 ranges, and how to get more of them."""

    data: Data
    count: int
    """Images that were asked for; there may be fewer."""
    seed: int
    images: NDArray[np.uint8]
    """[N, H, W, C]"""

    def more(self) -> NDArray[np.uint8]:
        """Return five times as many where there are, each also as another resize filter would give it."""
        rows = choose_calibration(self.data.classes, self.data.parts.train, _MORE * self.count, self.seed)
        return with_copies([self.data.samples[i] for i in rows], self.data.preprocessing, self.seed)


def decode_calibration(data: Data, count: int, seed: int) -> CalibrationSet:
    """Return `count` training images, or all where there are fewer: held-out ones must not set the ranges.

    Raises:
        DataError: one has changed since it was featurized and can no longer be read.
    """
    rows = choose_calibration(data.classes, data.parts.train, count, seed)
    return CalibrationSet(data, count, seed, data.decode(rows))


def choose_calibration(
    targets: NDArray[np.int64], train: NDArray[np.int64], count: int, seed: int
) -> NDArray[np.int64]:
    """Return up to `count` of the indices `train`, the same number of each class where it has them.

    A class seen more often in training must not decide the ranges alone. Seeded; classes take turns.
    """
    generator = np.random.default_rng(seed)
    own = targets[train]
    by_class = np.argsort(own, kind="stable")
    parts = np.split(train[by_class], np.flatnonzero(np.diff(own[by_class])) + 1)
    queues = [generator.permutation(part).tolist() for part in parts]
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
