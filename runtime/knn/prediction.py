"""A prediction: what the head and the stored examples together make of one image."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any, NamedTuple

from tlc_edge.runtime.bundle.manifest import Decision
from tlc_edge.runtime.errors import GalleryError
from tlc_edge.runtime.vectors import Floats

from .bank import Bank
from .decision import decide
from .unknown import Knownness, Limits, find_limits, is_unwanted


# Named tuples and not data classes: one per class is made for every frame, and these cost a third.
class Ranked(NamedTuple):
    """One class in a prediction's ranking."""

    label: str
    score: float


class Neighbour(NamedTuple):
    """A stored example near to the image; `id` is the gallery's, or 0 for one that came with the bundle."""

    id: int
    label: str
    similarity: float


# `_make` without a call of Python for each class: they are many, and every frame has them all.
_ranked = partial(tuple.__new__, Ranked)


@dataclass(frozen=True)
class Prediction:
    """What the classifier makes of one image."""

    label: str
    """The best class, also where `unknown` is set."""
    score: float
    """Its share of the decision, 0 to 1."""
    source: str
    """What spoke for it: `head` or `gallery`."""
    unknown: bool
    """Whether the image is like nothing that was trained or enrolled; then `label` is only the nearest guess."""
    ranked: tuple[Ranked, ...]
    """Every class, best first."""
    neighbours: tuple[Neighbour, ...]
    knownness: float
    """How much speaks for the image being known; see `tlc_edge.runtime.knn.unknown`."""
    milliseconds: dict[str, float]
    """Time spent on `decode` (reading included), `resize`, `inference`, `search` and `decision`."""
    threshold: float = float("-inf")
    """The known-ness asked for; below it the image is `unknown`. -inf where that is off."""
    none_of_these: bool = False
    """Whether it is `unknown` because an example of what must not pass is nearer than all others."""

    def document(self, image: str) -> dict[str, Any]:
        """Return it as JSON values, as `tlc predict --json` and the API of `tlc serve` give it; `image` is its name."""
        return {
            "image": image,
            "label": self.label,
            "score": round(self.score, 6),
            "source": self.source,
            "unknown": self.unknown,
            "ranked": [{"label": r.label, "score": round(r.score, 6)} for r in self.ranked],
            "knownness": round(self.knownness, 4),
            "threshold": round(self.threshold, 4) if math.isfinite(self.threshold) else None,
            "none_of_these": self.none_of_these,
            "neighbours": [
                {"id": n.id, "label": n.label, "similarity": round(n.similarity, 4)} for n in self.neighbours
            ],
            "milliseconds": {k: round(v, 3) for k, v in self.milliseconds.items()},
        }


class Basis(NamedTuple):
    """What answers are based on: what the model's outputs are compared with, and by which rule."""

    bank: Bank
    decision: Decision
    examples: list[int]
    """How many enrolled examples each class has."""
    heard: Floats | None
    """Which means of classes are heard; see `Bank.heard`."""
    limits: Limits
    """What an image has to reach to be known."""


def basis(bank: Bank, decision: Decision, knownness: Knownness, rate: float) -> Basis:
    """Count the examples and set the thresholds, by what the bank holds now; `rate` of false alarms, 0 to 1."""
    heard = bank.heard() if decision.means else None
    return Basis(bank, decision, bank.counts()[1].tolist(), heard, find_limits(knownness, rate, bank))


def answer(probabilities: Floats, embedding: Floats, based: Basis, milliseconds: dict[str, float]) -> Prediction:
    """Return the prediction for one image.

    Args:
        probabilities: the head's, [B] for the B base classes; empty for a bundle without a head.
        embedding: [D], as the model gives it.
        based: what to compare it with.
        milliseconds: what went before; `search` and `decision` are added.

    Raises:
        GalleryError: there is no class at all.
    """
    start = perf_counter()
    bank = based.bank
    near, labels = bank.nearby(embedding, based.decision.k), bank.labels
    class_means = None if based.heard is None else bank.to_class_means(near.unit) + based.heard
    searched = perf_counter()
    ranking = decide(
        probabilities,
        near.cosines,
        near.classes,
        near.own,
        len(labels),
        based.decision,
        near.to_means,
        based.examples,
        class_means,
    )
    if not len(ranking.scores):
        raise GalleryError("the bundle has no classes of its own and nothing is enrolled; enroll a class first")
    order = (-ranking.scores).argsort(kind="stable")
    scores: list[float] = ranking.scores[order].tolist()
    names = list(map(labels.__getitem__, order.tolist()))
    best = int(order[0])
    knownness, asked = based.limits.judge(near)
    unwanted = is_unwanted(near)
    return Prediction(
        label=names[0],
        score=scores[0],
        source="gallery" if 2 * ranking.enrolled.get(best, 0.0) > scores[0] else "head",
        unknown=unwanted or knownness < asked,
        ranked=tuple(map(_ranked, zip(names, scores, strict=True))),
        neighbours=tuple(
            Neighbour(i, labels[c], s) for i, c, s in zip(near.ids, near.classes, near.cosines, strict=True)
        ),
        knownness=knownness,
        milliseconds={
            **milliseconds,
            "search": (searched - start) * 1e3,
            "decision": (perf_counter() - searched) * 1e3,
        },
        threshold=asked,
        none_of_these=unwanted,
    )
