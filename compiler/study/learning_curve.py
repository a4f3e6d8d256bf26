"""The learning curve: how accuracy grows with the number of training images, and so what more of them would bring."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.cache.once import Given, arrays_once
from tlc_edge.compiler.records import Floats, Head
from tlc_edge.compiler.toolchain import versions
from tlc_edge.compiler.train.balance import standardize
from tlc_edge.compiler.train.prototype import prototypes
from tlc_edge.compiler.train.streamed import solve_streamed
from tlc_edge.compiler.train.training import FeatureView, Whole
from tlc_edge.compiler.verify.statistics import wilson
from tlc_edge.runtime.progress import Count, silent
from tlc_edge.runtime.vectors import unit_rows

FRACTIONS = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)
_FEWEST = 2  # training images of the smallest class from which on a fraction says something
_REPEATS = 3  # draws of a fraction of up to `_FEW` images; which are in it matters most where they are few
_FEW = 1000
_MUCH = 100_000  # images times classes, from which on a linear head is trained in passes, as in `train.linear`
_FORMAT = 1  # rises when the same images would give another curve
_MANY_CLASSES = 2000  # beyond, there is no curve
_STRENGTH = 0.3  # inverse, of the linear head that stands in for one without a strength of its own


@dataclass(frozen=True)
class CurvePoint:
    """A head trained on part of the training images."""

    images: int
    accuracy: float
    """On the held-out images, the mean of the draws."""
    interval: tuple[float, float]
    """95 % Wilson interval of that accuracy."""
    train_accuracy: float
    """On the images that it was trained on."""


@dataclass(frozen=True)
class Curve:
    """Points with rising numbers of images; none where `skipped` says why."""

    head: str
    """Which head was trained for it."""
    points: tuple[CurvePoint, ...]
    skipped: str | None = None

    @property
    def gain(self) -> float | None:
        """What the last doubling of the images brought, as a share; None without a curve."""
        return self.points[-1].accuracy - self.points[-2].accuracy if len(self.points) > 1 else None


@dataclass(frozen=True, eq=False)
class Material:
    """What the curve is made from: pooled features, or embeddings where there is no head, and classes."""

    train: Floats
    """[M, F]"""
    classes: NDArray[np.int64]
    """[M]"""
    held_out: Floats
    """[N, F]"""
    truth: NDArray[np.int64]
    """[N]"""


def draw_curve(
    head: Head, material: Material, count: int, seed: int, progress: Count = silent, cache: str | None = "off"
) -> Curve:
    """Train on growing fractions of each class and judge each on all held-out images.

    A linear head is trained with the strength that was chosen for the whole; a linear one also stands in for heads
    that take long to train. `count` is the number of classes. A curve that was drawn before comes from the `cache`,
    whatever the head was that it stood in for.
    """
    fewest = int(np.bincount(material.classes, minlength=count).min())
    fractions = [f for f in FRACTIONS if f == 1 or f * fewest >= _FEWEST]
    if len(fractions) < 2:
        return Curve("", (), f"too little data: the smallest class has {fewest} training images, 4 are needed")
    if count > _MANY_CLASSES:
        return Curve("", (), f"{count} classes: five more heads of as many would take longer than the build")
    kind = head.kind if head.kind in ("prototype", "none") else "linear"
    name, strength = _stand_in(head)
    words = ["curve", _FORMAT, versions("numpy", "scipy", "scikit-learn"), kind, strength, count, seed, fractions]
    given: list[Given] = [material.train, material.classes, material.held_out, material.truth]

    def draw() -> dict[str, NDArray[np.float64]]:
        points = _draw(kind, strength, material, count, fractions, seed, progress)
        return {"points": np.array([(p.images, p.accuracy, *p.interval, p.train_accuracy) for p in points])}

    found = arrays_once(cache, words, given, draw)["points"].tolist()
    return Curve(name, tuple(CurvePoint(int(n), right, (low, high), seen) for n, right, low, high, seen in found))


def _draw(
    kind: str,
    strength: float,
    material: Material,
    count: int,
    fractions: Sequence[float],
    seed: int,
    progress: Count,
) -> list[CurvePoint]:
    from threadpoolctl import threadpool_limits

    if kind == "linear":
        import_module("sklearn.linear_model")  # with its BLAS: only what is loaded can be limited
    points: list[CurvePoint] = []
    draws = [_REPEATS if f < 1 and f * len(material.classes) <= _FEW else 1 for f in fractions]
    with threadpool_limits(1, "blas"):  # as in `linear.train_linear`
        for fraction, repeats in zip(fractions, draws, strict=True):
            found: list[tuple[float, float, int]] = []
            for repeat in range(repeats):
                rows = _part(material.classes, fraction, seed + repeat)
                found.append((*_try(kind, material, rows, count, strength), len(rows)))
                progress(sum(draws[: len(points)]) + repeat + 1, sum(draws))
            accuracy, on_train, images = (float(v) for v in np.mean(found, axis=0))
            interval = wilson(round(accuracy * len(material.truth)), len(material.truth))
            points.append(CurvePoint(round(images), accuracy, interval, on_train))
    return points


def _stand_in(head: Head) -> tuple[str, float]:
    if head.kind == "prototype":
        return "class means", 0.0
    if head.kind == "none":
        return "the nearest training image", 0.0
    strength = float(head.notes.get("inverse_strength", _STRENGTH))
    in_place = "" if head.kind == "linear" else f" in place of the {head.kind} head"
    return f"a linear head of inverse strength {strength:g}{in_place}", strength


def _part(classes: NDArray[np.int64], fraction: float, seed: int) -> NDArray[np.int64]:
    """Return the indices of a fraction of each class; with the same seed a smaller fraction is part of a larger one."""
    generator = np.random.default_rng(seed)
    chosen: list[NDArray[np.int64]] = []
    for c in np.unique(classes):
        members = generator.permutation(np.flatnonzero(classes == c))
        chosen.append(members[: max(1, round(fraction * len(members)))])
    return np.sort(np.concatenate(chosen))


def _try(kind: str, m: Material, rows: NDArray[np.int64], count: int, strength: float) -> tuple[float, float]:
    """Return the accuracy on the held-out images and on the training images `rows`."""
    train, classes = m.train[rows], m.classes[rows]
    if kind == "prototype":
        head = prototypes([train], classes, count)
        answers = [np.argmax(head.probabilities(x), axis=1) for x in (m.held_out, train)]
    elif kind == "none":
        answers = [classes[np.argmax(unit_rows(m.held_out) @ unit_rows(train).T, axis=1)], classes]
    elif len(train) * count >= _MUCH:
        head = solve_streamed(Whole([FeatureView(train)], classes), count, strength)
        answers = [np.argmax(head.probabilities(x), axis=1) for x in (m.held_out, train)]
    else:
        answers = _linear(train, classes, (m.held_out, train), strength)
    return float(np.mean(answers[0] == m.truth)), float(np.mean(answers[1] == classes))


def _linear(
    train: Floats, classes: NDArray[np.int64], judged: Sequence[Floats], strength: float
) -> list[NDArray[np.int64]]:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    # As in `heads`: each class weighs the same.
    mean, scale = standardize([train])
    model = LogisticRegression(C=strength, tol=1e-3, max_iter=300, class_weight="balanced")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a few steps short of the optimum is no harm
        model.fit(((train - mean) / scale).astype(np.float32), classes)
    return [np.asarray(model.predict(((x - mean) / scale).astype(np.float32)), np.int64) for x in judged]
