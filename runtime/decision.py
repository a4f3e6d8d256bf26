"""The decision: how the head's answer and the nearest stored examples become one ranking.

The bank holds the base classes' exemplars and the enrolled examples. The k nearest rows vote. What a row has to
say is its own cosine and that of its class's mean, weighed by `mean`: the row reaches the corners of a class, the
mean is surer where there are several examples, and for a single one both are the same. A vote counts
`exp((said - most said) / temperature)`, for an enrolled row divided by as many of the votes as its class could have
(to the power of `balance`), so that no class wins by number. The share that falls on *enrolled* rows goes to their
classes, and the head's probabilities share the rest:

    score(c) = head(c) * (1 - enrolled share) + enrolled share of c

So nothing changes while nothing is enrolled or nothing enrolled is near, a class that only exists in the
gallery can win, and a base class with extra examples has both its head and its examples speak for it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .manifest import Decision

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Ranking:
    """Scores of all classes and what they came from."""

    scores: Floats
    """[C], base classes first, then those only in the gallery; they sum to 1."""
    enrolled: Floats
    """[C], the part of each score that enrolled examples gave."""
    neighbours: NDArray[np.int64]
    """[<= k], rows of the bank, nearest first."""


def decide(
    probabilities: Floats,
    similarities: Floats,
    row_class: NDArray[np.int64],
    exemplars: int,
    classes: int,
    decision: Decision,
    to_means: Floats | None = None,
    examples: NDArray[np.int64] | None = None,
) -> Ranking:
    """Join head and bank.

    Args:
        probabilities: the head's, [B] for the B base classes.
        similarities: cosine to every bank row, [N].
        row_class: class index of every bank row, [N].
        exemplars: how many rows at the front of the bank are the bundle's own; the rest are enrolled.
        classes: number of classes in all, at least B.
        decision: k, temperature, the weight of the means, and the balance.
        to_means: cosine to the mean of each bank row's class, [N]; None leaves the rows to speak alone.
        examples: how many enrolled rows each class has, [classes]; None leaves the votes as they are.
    """
    enrolled = np.zeros(classes, np.float32)
    rows = nearest(similarities, decision.k)
    if len(rows):
        said = similarities[rows]
        if to_means is not None:
            said = (1 - np.float32(decision.mean)) * said + np.float32(decision.mean) * to_means[rows]
        votes = np.exp((said - said.max()) / np.float32(decision.temperature))
        if examples is not None and decision.balance:
            share = np.clip(examples[row_class[rows]], 1, decision.k).astype(np.float32)
            votes = np.where(rows >= exemplars, votes * share ** np.float32(-decision.balance), votes)
        votes /= votes.sum()
        for row, vote in zip(rows.tolist(), votes.tolist(), strict=True):
            if row >= exemplars:
                enrolled[row_class[row]] += vote
    base = len(probabilities)
    scores = enrolled.copy()
    if base:
        total = float(probabilities.sum())  # an int8 softmax sums to 1 only roughly, and over 512 classes maybe to 0
        head = probabilities / np.float32(total) if total > 0 else np.full(base, 1 / base, np.float32)
        # Votes rounded to float32 can sum to a little over 1; there is no less than nothing left.
        scores[:base] += head * np.float32(max(0.0, 1.0 - float(enrolled.sum())))
    elif len(rows):
        scores /= scores.sum() if scores.sum() > 0 else 1.0
    return Ranking(scores, enrolled, rows)


def nearest(similarities: Floats, k: int) -> NDArray[np.int64]:
    """Return the k rows of highest similarity, best first; the earlier row wins a tie."""
    count = len(similarities)
    if count > k:
        # All rows that tie with the k-th are kept for the sort below, so that ties never depend on the partition.
        kth = similarities[np.argpartition(similarities, count - k)[count - k]]
        rows = np.flatnonzero(similarities >= kth)
    else:
        rows = np.arange(count)
    order = np.lexsort((rows, -similarities[rows]))
    return rows[order][:k].astype(np.int64)
