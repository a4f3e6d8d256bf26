"""What heads and the fine-tuning share: how classes weigh, how strong weights may be, which images only watch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.records import Floats

# Inverse strengths to choose from, for features centred and divided by one common deviation, so that the
# range suits every backbone. With EfficientNet-Lite0 the best was 0.1 on 3,500 digits and 0.1 to 1 on 72 photos.
STRENGTHS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)


def balance(targets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return one weight per image, [N], so that all classes weigh the same; they sum to N."""
    counts = np.bincount(targets)
    weights = 1.0 / counts[targets]
    return np.asarray(weights * (len(targets) / weights.sum()), np.float64)


def standardize(views: Sequence[Floats]) -> tuple[NDArray[np.float64], float]:
    """Return the mean [F] and the one common deviation of all features in all views."""
    mean = np.mean([view.mean(axis=0, dtype=np.float64) for view in views], axis=0)
    scale = float(np.sqrt(np.mean([np.mean(np.square(view - mean)) for view in views])))
    return mean, scale or 1.0


def watch(targets: NDArray[np.int64], seed: int) -> NDArray[np.bool_]:
    """Return which images are watched, [N]: a sixth of each class, at least one where it has two or more."""
    generator = np.random.default_rng(seed)
    watched = np.zeros(len(targets), bool)
    for c in np.unique(targets):
        members = generator.permutation(np.flatnonzero(targets == c))
        watched[members[: max(1, len(members) // 6) if len(members) > 1 else 0]] = True
    return watched


def folds(targets: NDArray[np.int64], count: int, seed: int) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Return rows to train on and rows that are held out, `count` times, both ascending; each row is held out once.

    Each class is shared out evenly: those of scikit-learn's StratifiedKFold, shuffled, which takes longer to load than
    most heads to train.
    """
    generator = np.random.RandomState(seed)
    _, first, codes = np.unique(targets, return_index=True, return_inverse=True)
    codes = np.argsort(np.argsort(first))[codes]  # classes in the order in which they occur
    dealt = np.sort(codes)
    fold = np.empty(len(targets), np.int64)
    for code in range(len(first)):
        shares = [int(np.count_nonzero(dealt[i::count] == code)) for i in range(count)]
        numbers = np.repeat(np.arange(count), shares)
        generator.shuffle(numbers)
        fold[codes == code] = numbers
    return [(np.flatnonzero(fold != i), np.flatnonzero(fold == i)) for i in range(count)]
