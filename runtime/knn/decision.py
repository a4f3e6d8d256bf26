"""The decision: how the head's answer and the nearest stored examples become one ranking.

The bank holds the base classes' exemplars and the enrolled examples. The k nearest rows vote. What a row has to
say is its own cosine and that of its class's mean, weighed by `mean`: the row reaches the corners of a class, the
mean is surer where there are several examples, and for a single one both are the same. A vote counts
`exp((said - most said) / temperature)`, for an enrolled row divided by as many of the votes as its class could have
(to the power of `balance`), so that no class wins by number. The share that falls on *enrolled* rows goes to their
classes, and the head's probabilities share the rest:

    score(c) = head(c) * (1 - enrolled share) + enrolled share of c

So nothing changes while nothing is enrolled, a class that only exists in the gallery can win, and a base class with
extra examples has both its head and its examples speak for it.

Once something is enrolled, the means of all classes are heard as well, as the head knows only its own classes and the
votes are few: each class gets a share `exp(cosine to its mean / temperature)` over the sum of these, and the score is
the average of what was and this share, which is weighed by `means`. (Snell et al. 2017 classify so.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tlc_edge.runtime.bundle.manifest import Decision
from tlc_edge.runtime.vectors import Floats

_NOTHING = float(np.finfo(np.float32).tiny)  # below, there is no dividing by it in float32


class Ranking(NamedTuple):
    """Scores of all classes and what they came from."""

    scores: Floats
    """[C], base classes first, then those only in the gallery; they sum to 1."""
    shares: dict[int, float]
    """What the votes of enrolled rows gave their classes, before the means were heard."""
    said: Floats | None = None
    """What the means gave each class, [C]; None where they were not heard."""
    base: int = 0
    """How many classes are base classes."""
    means: float = 0.0
    """How much the means weigh."""

    @property
    def enrolled(self) -> dict[int, float]:
        """The part of a class's score that enrolled examples gave, by class; no more than was to be shared."""
        only_enrolled = () if self.said is None else range(self.base, len(self.said))
        return {c: self.from_enrolled(c) for c in dict.fromkeys([*self.shares, *only_enrolled])}

    def from_enrolled(self, c: int) -> float:
        """Return the part of the score of class `c` that enrolled examples gave."""
        share = self.shares.get(c, 0.0)
        if self.said is None:
            return share
        share /= 1 + self.means
        # A base class's mean is the bundle's own word; that of another class comes from the gallery.
        return share + float(self.said[c]) if c >= self.base else share


def decide(
    probabilities: Floats,
    similarities: Sequence[float],
    row_class: Sequence[int],
    own: Sequence[bool],
    classes: int,
    decision: Decision,
    to_means: Sequence[float] | None = None,
    examples: Sequence[int] | None = None,
    class_means: Floats | None = None,
) -> Ranking:
    """Join the head's answer and the votes of the nearest rows.

    The rows are so few that plain floats cost a fifth of what arrays do.

    Args:
        probabilities: the head's, [B] for the B base classes.
        similarities: cosine to each of the k nearest rows, in any order.
        row_class: class index of each of these.
        own: whether it is the bundle's own; else it is an enrolled example.
        classes: number of classes in all, at least B.
        decision: temperature, the weight of the means, and the balance.
        to_means: cosine to the mean of each row's class; None leaves the rows to speak alone.
        examples: how many enrolled rows each class has, one number per class; None leaves the votes as they are.
        class_means: cosine to the mean of each class, [C], -inf where it has no rows; None leaves it at head and votes.
    """
    shares: dict[int, float] = {}
    if len(similarities):
        votes = _votes(similarities, to_means, decision)
        if examples is not None and decision.balance:
            # A class with more examples than one can have as many more of the k votes.
            k, balance = decision.k, -decision.balance
            votes = [
                vote if is_own else vote * min(max(examples[c], 1), k) ** balance
                for vote, is_own, c in zip(votes, own, row_class, strict=True)
            ]
        total = sum(votes)
        for vote, is_own, c in zip(votes, own, row_class, strict=True):
            if not is_own:
                shares[c] = shares.get(c, 0.0) + vote / total
    scores = np.zeros(classes, np.float32)
    base = len(probabilities)
    if base:
        # Shares can sum to a little over 1; there is no less than nothing left.
        left = max(0.0, 1.0 - sum(shares.values()))
        total = float(probabilities.sum())  # an int8 softmax sums to 1 only roughly, and over 512 classes maybe to 0
        scores[:base] = probabilities * np.float32(left / total) if total > _NOTHING else left / base
    for c, share in shares.items():
        scores[c] += share
    if class_means is None or not decision.means:
        return Ranking(scores, shares)
    # argmax takes a quarter of the time of max.
    said = np.exp((class_means - class_means[class_means.argmax()]) / np.float32(decision.means_temperature))
    said *= np.float32(decision.means / (1 + decision.means)) / said.sum()
    scores = scores / np.float32(1 + decision.means) + said
    return Ranking(scores, shares, said, base, decision.means)


def _votes(similarities: Sequence[float], to_means: Sequence[float] | None, decision: Decision) -> list[float]:
    said = list(similarities)
    if to_means is not None:
        weight = decision.mean
        said = [(1 - weight) * row + weight * mean for row, mean in zip(said, to_means, strict=True)]
    most = max(said)
    return [math.exp((one - most) / decision.temperature) for one in said]
