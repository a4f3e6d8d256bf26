"""How far a model's probabilities can be taken at their word."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.records import Floats

BINS = 10
_DRAWS = 300


@dataclass(frozen=True)
class Bin:
    """The answers given with a probability from `low` to `high`."""

    low: float
    high: float
    images: int
    probability: float
    """Their mean probability; 0 where there are none."""
    accuracy: float
    """The share of them that is right; 0 where there are none."""


@dataclass(frozen=True)
class Reliability:
    """Probability of the answers against the share of them that is right."""

    error: float
    """The expected calibration error; see `measure_reliability`."""
    chance: float
    """What the error of a model with perfect probabilities stays below on 95 of 100 draws of as many images."""
    bins: tuple[Bin, ...]
    surplus: float
    """Mean probability less accuracy: above 0 the model is surer than it is right."""


def measure_reliability(probabilities: Floats, truth: NDArray[np.int64]) -> Reliability:
    """Measure the expected calibration error (Naeini et al. 2015; Guo et al. 2017) of N answers.

    The answers, each the class of the highest probability, are put into ten bins of equal width by that probability.
    The error is the sum over the bins of |share that is right - mean probability| x images in the bin / N. Few images
    have such an error by chance alone; how large, is found by drawing right and wrong at the stated probabilities.

    Args:
        probabilities: [N, C], N and C at least 1.
        truth: class indices, [N].
    """
    stated = probabilities.max(axis=1).astype(np.float64).clip(0, 1)
    right = np.argmax(probabilities, axis=1) == truth
    place = np.minimum((stated * BINS).astype(np.int64), BINS - 1)
    images = np.bincount(place, minlength=BINS)
    sums, rights = np.bincount(place, stated, BINS), np.bincount(place, right, BINS)
    member = (place[:, None] == np.arange(BINS)).astype(np.float32)
    generator = np.random.default_rng(0)
    draws = np.stack([(generator.random(len(stated)) < stated).astype(np.float32) @ member for _ in range(_DRAWS)])
    by_chance = np.abs(draws - sums).sum(axis=1) / len(stated)
    full = np.maximum(images, 1)
    bins = [
        Bin(i / BINS, (i + 1) / BINS, int(images[i]), float(sums[i] / full[i]), float(rights[i] / full[i]))
        for i in range(BINS)
    ]
    return Reliability(
        error=float(np.abs(rights - sums).sum() / len(stated)),
        chance=float(np.quantile(by_chance, 0.95)),
        bins=tuple(bins),
        surplus=float(stated.mean() - right.mean()),
    )
