"""Several cuts of a backbone, judged on the user's own images before anything is built."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.backbones.cuts import Cut, cuts_of
from tlc_edge.compiler.backbones.shave import shave
from tlc_edge.compiler.cache.folder import caching
from tlc_edge.compiler.data.calibration_set import choose_calibration
from tlc_edge.compiler.data.duplicates import find_groups
from tlc_edge.compiler.data.prepared import number_classes
from tlc_edge.compiler.data.records import Sample
from tlc_edge.compiler.features.featurize import featurize
from tlc_edge.compiler.features.trunk_files import TrunkFiles
from tlc_edge.compiler.records import Backbone, Floats, Trunk
from tlc_edge.compiler.train.linear import train_linear
from tlc_edge.compiler.verify.statistics import wilson
from tlc_edge.runtime.progress import Count, silent

FOLDS = 5
_MOST = 500  # images that the cuts are judged on: enough for an interval of 3 points


@dataclass(frozen=True)
class CutScore:
    """How a linear head on a cut's features does on images that it was not trained on."""

    cut: Cut
    features: int
    right: int
    images: int

    @property
    def accuracy(self) -> float:
        """Share of the images."""
        return self.right / self.images

    @property
    def interval(self) -> tuple[float, float]:
        """95 %, Wilson."""
        return wilson(self.right, self.images)

    def described(self) -> str:
        """Return it for people."""
        low, high = self.interval
        pooled = {"none": "", "avg": " averaged", "max": " by maxima", "flatten": " flattened"}[self.cut.pool]
        return f"{self.cut.layer}{pooled} ({self.features:,} features) {self.accuracy:.3f} ({low:.3f} to {high:.3f})"


def cross_validate(
    features: Floats, targets: NDArray[np.int64], groups: NDArray[np.int64], classes: int, seed: int
) -> tuple[int, int] | None:
    """Return how many of N images are answered right by heads that were trained without them, and N.

    `features` [N, F]; `targets` and `groups` [N]: images of one group stay together. The strength of the head is
    chosen once, for all folds. None where a class has too few groups to hold one out.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    fewest = min(len(np.unique(groups[targets == c])) for c in range(classes))
    if fewest < 2:
        return None
    _, fit = train_linear([features], targets, classes, seed)
    folds = StratifiedGroupKFold(min(FOLDS, fewest), shuffle=True, random_state=seed)
    right = 0
    for train, held_out in folds.split(targets, targets, groups):
        if len(np.unique(targets[train])) < classes:
            return None
        answers = np.argmax(fit([features[train]], targets[train]).logits(features[held_out]), axis=1)
        right += int((answers == targets[held_out]).sum())
    return right, len(targets)


def _after(progress: Count, start: int, total: int) -> Count:
    """Return what is told of one part of the work, as `progress` is told of all of it."""
    return lambda done, _of_part: progress(start + done, total)


def choose_cut(
    backbone: Backbone,
    samples: Sequence[Sample],
    seed: int,
    threads: int = 0,
    cache: str | None = None,
    progress: Count = silent,
) -> tuple[Trunk, str | None]:
    """Return the trunk at the best of a backbone's cuts for training images, and what was compared, in a sentence.

    The first cut is taken that comes within one standard error of the best one, so that the default stays where there
    is no difference to speak of. Where there is one cut only, or too few images, it is the default.
    """
    default = shave(backbone)
    trunks = {cut: shave(backbone, cut.layer, cut.pool) for cut in cuts_of(backbone)}
    if len(trunks) < 2:
        return default, None
    _, classes = number_classes(samples)
    chosen = choose_calibration(classes, np.arange(len(samples)), _MOST, seed)
    some = [samples[i] for i in np.sort(chosen)]
    scores: list[CutScore] = []
    for number, (cut, trunk) in enumerate(trunks.items()):
        start, total = number * len(some), len(some) * len(trunks)
        with caching(cache) as kept:
            found = featurize(
                TrunkFiles(trunk, cache).as_float(),
                some,
                backbone.input.preprocessing,
                threads,
                _after(progress, start, total),
                cache=kept,
            )
        labels, targets = number_classes(found.samples)
        counted = None
        if len(labels) > 1:
            counted = cross_validate(found.features, targets, find_groups(found.thumbnails), len(labels), seed)
        if counted is None:
            return default, None
        scores.append(CutScore(replace(cut, pool=trunk.pool), trunk.width, *counted))
    best = max(scores, key=lambda s: s.right)
    error = np.sqrt(best.accuracy * (1 - best.accuracy) / best.images)
    taken = next(i for i, s in enumerate(scores) if s.accuracy >= best.accuracy - error)
    others = "; ".join(s.described() for i, s in enumerate(scores) if i != taken)
    said = (
        f"cut at {scores[taken].described()}, by {FOLDS}-fold cross-validation on {best.images} training images, as "
        f"{backbone.name} flattens into dense layers; the others: {others}; --shave and --pool decide otherwise"
    )
    return list(trunks.values())[taken], said
