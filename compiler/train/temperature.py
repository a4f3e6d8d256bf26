"""The temperature: how sure a head may be, found on images that it was not trained on.

A head's logits are divided by one number, which changes no answer: the one with the least log loss on the
training images, each judged by a head that was trained without it (Guo et al. 2017, arXiv 1706.04599, with
cross-validation in place of a validation set, which tlc keeps for judging).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.records import Dense, Floats, Head

from .balance import folds

TrainHead = Callable[[Sequence[Floats], NDArray[np.int64]], Head]
"""From views [N, F] and class indices [N], in which every class occurs, to a head."""

_FOLDS = 4
_PLENTY = 1000  # images of which a quarter tells as much as all of them in turn
_RANGE = (0.1, 10.0)


def with_temperature(
    head: Head, fit: TrainHead, views: Sequence[Floats], targets: NDArray[np.int64], seed: int
) -> Head:
    """Return `head` with its temperature; as it is where a class has one image alone, so that none can be held out."""
    return cooled(head, held_out_logits(fit, views, targets, seed))


def cooled(head: Head, judged: tuple[Floats, NDArray[np.int64]] | None) -> Head:
    """Return `head` with its temperature, found on what `held_out_logits` gives."""
    temperature = None if judged is None else best_temperature(*judged)
    notes = {**head.notes, "temperature": None if temperature is None else round(temperature, 4)}
    return replace(head if temperature is None else tempered(head, temperature), notes=notes)


def held_out_logits(
    fit: TrainHead, views: Sequence[Floats], targets: NDArray[np.int64], seed: int
) -> tuple[Floats, NDArray[np.int64]] | None:
    """Return logits [N, C] of images by heads that were trained without them, and their classes.

    None where a class has one image alone, so that none can be held out.
    """
    fewest = int(np.bincount(targets).min())
    return None if fewest < 2 else _held_out(fit, views, targets, min(_FOLDS, fewest), seed)


def best_temperature(logits: Floats, targets: NDArray[np.int64]) -> float:
    """Return what to divide `logits` [N, C] by for the least log loss, every class weighing the same."""
    from scipy.optimize import minimize_scalar

    weights = 1.0 / np.bincount(targets)[targets]
    rows = np.arange(len(targets))

    def loss(log_temperature: float) -> float:
        z = logits.astype(np.float64) / np.exp(log_temperature)
        z -= z.max(axis=1, keepdims=True)
        return float(np.average(np.log(np.exp(z).sum(axis=1)) - z[rows, targets], weights=weights))

    low, high = np.log(_RANGE)
    return float(np.exp(minimize_scalar(loss, bounds=(low, high), method="bounded").x))


def tempered(head: Head, temperature: float) -> Head:
    """Return `head` with the logits of its last layer divided by `temperature`."""
    last = head.layers[-1]
    scaled = Dense(
        (last.kernel / temperature).astype(np.float32), (last.bias / temperature).astype(np.float32), last.activation
    )
    return replace(head, layers=(*head.layers[:-1], scaled))


def _held_out(
    fit: TrainHead, views: Sequence[Floats], targets: NDArray[np.int64], count: int, seed: int
) -> tuple[Floats, NDArray[np.int64]]:
    parts = folds(targets, count, seed)
    if len(targets) >= _PLENTY:
        parts = parts[:1]
    logits: list[Floats] = []
    for train, held_out in parts:
        # An image is held out with all its views: else it would be judged by its twin.
        logits.append(fit([v[train] for v in views], targets[train]).logits(views[-1][held_out]))
    return np.concatenate(logits), targets[np.concatenate([held_out for _, held_out in parts])]
