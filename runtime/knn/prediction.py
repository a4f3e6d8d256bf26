"""A prediction: what the head and the stored examples together make of one image."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

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
    """Every class, best first; sorted when it is first read."""
    neighbours: tuple[Neighbour, ...]
    """The nearest stored examples, best first."""
    knownness: float
    """How much speaks for the image being known; see `tlc_edge.runtime.knn.unknown`."""
    milliseconds: dict[str, float]
    """Time spent on `decode` (reading included), `resize`, `inference`, `search` and `decision`."""
    threshold: float = float("-inf")
    """The known-ness asked for; below it the image is `unknown`. -inf where that is off."""
    none_of_these: bool = False
    """Whether it is `unknown` because an example of what must not pass is nearer than all others."""

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Make what `answer` left for whoever reads it: a frame's loop mostly reads the label alone."""
            make, rest = _LATER.get(name), self.__dict__.get("_rest")
            if make is None or rest is None:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)
            made = self.__dict__[name] = make(rest)
            return made

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

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


class _Rest(NamedTuple):
    """What the parts of a prediction are made from that wait for being read."""

    scores: Floats
    labels: tuple[str, ...]
    ids: list[int]
    classes: list[int]
    cosines: list[float]


def _make_ranked(rest: _Rest) -> tuple[Ranked, ...]:
    order = (-rest.scores).argsort(kind="stable")
    names = map(rest.labels.__getitem__, order.tolist())
    return tuple(map(_ranked, zip(names, rest.scores[order].tolist(), strict=True)))


def _make_neighbours(rest: _Rest) -> tuple[Neighbour, ...]:
    near = zip(rest.ids, rest.classes, rest.cosines, strict=True)
    return tuple(Neighbour(i, rest.labels[c], cosine) for i, c, cosine in near)


_LATER: dict[str, Callable[[_Rest], Any]] = {"ranked": _make_ranked, "neighbours": _make_neighbours}


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
    labels: tuple[str, ...]
    """Of all classes, as the bank has them now."""


def basis(bank: Bank, decision: Decision, knownness: Knownness, rate: float) -> Basis:
    """Count the examples and set the thresholds, by what the bank holds now; `rate` of false alarms, 0 to 1."""
    heard = bank.heard() if decision.means else None
    return Basis(
        bank, decision, bank.counts()[1].tolist(), heard, find_limits(knownness, rate, bank), tuple(bank.labels)
    )


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
    bank, decision, examples, heard, limits, labels = based
    near = bank.nearby(embedding, decision.k)
    class_means = None if heard is None else bank.to_class_means(near.unit) + heard
    searched = perf_counter()
    ranking = decide(
        probabilities,
        near.cosines,
        near.classes,
        near.own,
        len(labels),
        decision,
        near.to_means,
        examples,
        class_means,
    )
    scores = ranking.scores
    if not len(scores):
        raise GalleryError("the bundle has no classes of its own and nothing is enrolled; enroll a class first")
    best = int(scores.argmax())
    score = scores.item(best)
    if math.isnan(score):  # which argmax takes for the highest, and a ranking for the lowest
        best = int((-scores).argsort(kind="stable")[0])
        score = scores.item(best)
    knownness, asked = limits.judge(near)
    unwanted = is_unwanted(near)
    found: Prediction = object.__new__(Prediction)
    # A frozen data class sets one field after the other, each by a call.
    found.__dict__.update(
        label=labels[best],
        score=score,
        source="gallery" if 2 * ranking.from_enrolled(best) > score else "head",
        unknown=unwanted or knownness < asked,
        knownness=knownness,
        threshold=asked,
        none_of_these=unwanted,
        _rest=_Rest(scores, labels, near.ids, near.classes, near.cosines),
        milliseconds={
            **milliseconds,
            "search": (searched - start) * 1e3,
            "decision": (perf_counter() - searched) * 1e3,
        },
    )
    return found
