"""The cut: one threshold for the whole system, found by the device from what the bundle ships and what is enrolled.

Any class may claim an image, so a threshold for each class by itself lets strangers in as soon as a few classes are
diverse: one of them is always near enough. What is compared here is the best claim of all:

    claim of c = half the shifted cosine to its nearest row + half that to the mean of its shifted rows
    known-ness = max over the classes of (claim of c - o(examples of c)) - ln(length of the embedding) / 4

The right class of few examples claims less than one of many; `o` is the difference, as the build measured it. An
embedding that is long is far from all that the build has seen. The cut is the stated quantile of the known-ness of
images that are known, each measured with itself left out: the build's, as the enrolled classes now claim them too, and
the enrolled examples. docs/unknown.md has the formulas in full.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tlc_edge.runtime.vectors import Floats, quantile

LENGTH = 0.25
"""What a unit of the logarithm of an embedding's length takes from its known-ness."""
_PLAIN = 0.75  # weight of images as they are; the rest is for changed copies, as devices' cameras make them
_ENROLLED = 0.5  # weight of enrolled examples against the build's images, once there are many
_MANY = 3  # enrolled examples whose word weighs half of that
_COPIES = 0.99  # nearer to its class than this share of the build's images: frames of one scene, not examples
_MOST = 1.6  # times the stated rate: more of the build's images fall below no cut
_FIRST = 0.5  # enrolled examples at which the cut is half way between the build's and the device's


@dataclass(frozen=True, eq=False)
class Measured:
    """What a build measured of images that it knows, each in a fold that neither neck nor exemplars have seen."""

    examples: NDArray[np.int64]
    """[K], ascending: numbers of examples of an enrolled class."""
    few: Floats
    """[K, Q]: for each, quantiles of what such a class claims of its own images, evenly spaced from 0 to 1."""
    claimed: Floats
    """[M, L]: the best claim of the base classes on M images in L looks, the first as they are; NaN where there is
    none. Where a bundle has exemplars the images are these, in their order."""
    lengths: Floats
    """[M, L]: logarithms of the lengths of their embeddings."""

    def few_quantile(self, share: float, examples: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the claim that this share of their images falls short of, for classes of so many examples, [N]."""
        if not len(self.examples):
            return np.zeros(len(examples))
        column = quantile(self.few.astype(np.float64), share)
        return np.interp(np.log(np.maximum(examples, 1)), np.log(self.examples), column)


class Claimed(NamedTuple):
    """What classes claim of samples that the device holds; -inf where a class has nothing to claim by."""

    exemplars: NDArray[np.int64]
    """Which of the bundle's exemplars, [E]."""
    of_exemplars: NDArray[np.float64]
    """[E, C], by classes that are only enrolled."""
    classes: NDArray[np.int64]
    """Class of each enrolled sample, [S]."""
    of_enrolled: NDArray[np.float64]
    """[S, C], with the sample itself left out."""
    lengths: NDArray[np.float64]
    """Logarithms of the lengths of the enrolled samples' embeddings, [S]."""
    stand_for: NDArray[np.int64] | None = None
    """How many examples each enrolled sample is the mean of, [S], left out with it; None: each of one."""


class Cut(NamedTuple):
    """The rule that a device goes by until what is enrolled changes."""

    offsets: Floats
    """o of each class, [C]; inf where a class has no rows."""
    threshold: float


def knownness_by(cut: Cut, claims: Floats, length: float) -> float:
    """Return the known-ness of an embedding of this length, of which each class claims so much, [C]."""
    beyond = claims - cut.offsets
    return float(beyond[beyond.argmax()]) - LENGTH * math.log(max(length, 1e-30))  # argmax: a quarter of max's time


def find_cut(
    measured: Measured,
    rate: float,
    own: NDArray[np.int64],
    enrolled: NDArray[np.int64],
    claimed: Claimed,
) -> Cut | None:
    """Return the cut at this rate of false alarms; None where the build measured nothing.

    Args:
        measured: the bundle's.
        rate: above 0, below 1.
        own: exemplars of each class, [C].
        enrolled: enrolled examples of each class, [C]; merged rows count for all that they are the mean of.
        claimed: what the classes claim of the samples.
    """
    plain = measured.claimed[:, 0][np.isfinite(measured.claimed[:, 0])].astype(np.float64)
    if not len(plain):
        return None
    usual = float(quantile(plain, rate))
    offsets = np.where(enrolled > 0, measured.few_quantile(rate, enrolled) - usual, np.inf)
    offsets[own > 0] = 0.0
    rows = claimed.exemplars if own.any() else np.arange(len(measured.claimed))
    base, lengths = measured.claimed[rows].astype(np.float64), LENGTH * measured.lengths[rows].astype(np.float64)
    weights = _weights(base)
    first = _quantile(base - lengths, weights, rate)
    if not enrolled.any():
        return Cut(offsets.astype(np.float32), first)
    if own.any():
        # What the enrolled classes now claim of the build's images too.
        base = np.maximum(base, np.max(claimed.of_exemplars - offsets, axis=1, initial=-np.inf)[:, None])
    told = _told(measured, rate, own, enrolled, claimed, offsets, usual)
    share = len(told) / (len(told) + _MANY) * (_ENROLLED if own.any() else 1.0)
    scores = np.concatenate([(base - lengths).ravel(), told])
    each = np.full(len(told), share / max(1, len(told)))
    cut = _quantile(scores, np.concatenate([weights.ravel() * (1 - share), each]), rate)
    if own.any():
        cut = min(cut, _quantile(base - lengths, weights, min(1.0, _MOST * rate)))
    count = int(enrolled.sum())
    return Cut(offsets.astype(np.float32), first + (cut - first) * count / (count + _FIRST))


def _told(
    measured: Measured,
    rate: float,
    own: NDArray[np.int64],
    enrolled: NDArray[np.int64],
    claimed: Claimed,
    offsets: NDArray[np.float64],
    usual: float,
) -> NDArray[np.float64]:
    """Return the known-ness of enrolled samples, each with itself left out; copies and what is alone say nothing."""
    right, every = claimed.classes, np.arange(len(claimed.classes))
    beside = claimed.of_enrolled[every, right]
    rest = enrolled[right] - (1 if claimed.stand_for is None else claimed.stand_for)
    others = own[right] + rest
    left = np.where(own[right] > 0, 0.0, measured.few_quantile(rate, rest) - usual)
    claims = claimed.of_enrolled - offsets
    claims[every, right] = beside - left
    counts = (others > 0) & (beside <= measured.few_quantile(_COPIES, others))
    told: NDArray[np.float64] = np.max(claims, axis=1, initial=-np.inf)[counts] - LENGTH * claimed.lengths[counts]
    return told


def _weights(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return weights [M, L] that sum to 1, 0 for what is not a number: three quarters for the first look."""
    there = np.isfinite(scores)
    weights = np.zeros(scores.shape)
    weights[:, 0] = there[:, 0] / max(1, there[:, 0].sum())
    changed = there[:, 1:]
    if changed.any():
        weights[:, 0] *= _PLAIN
        weights[:, 1:] = changed / changed.sum() * (1 - _PLAIN)
    return weights


def _quantile(scores: NDArray[np.float64], weights: NDArray[np.float64], rate: float) -> float:
    """Return the score below which this share of the weights lies, each in the middle of its own."""
    scores, weights = scores[weights > 0], weights[weights > 0]
    order = np.argsort(scores, kind="stable")
    middle = np.cumsum(weights[order]) - weights[order] / 2
    return float(np.interp(rate, middle / weights.sum(), scores[order]))
