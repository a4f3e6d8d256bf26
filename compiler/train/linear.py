"""The linear head: L2-regularised logistic regression."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from importlib import import_module

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.records import Dense, Floats, Head
from tlc_edge.runtime.progress import Count, silent

from .balance import STRENGTHS, balance, standardize
from .streamed import fit_streamed, in_passes, solve_streamed, train_streamed
from .temperature import TrainHead, with_temperature
from .training import FeatureView, Training, Whole

_FOLDS = 5


def make(given: Training) -> Head:
    """Train the head and find its temperature; of many images or classes in passes over all of them."""
    whole = given.whole
    if whole is None and in_passes(len(given.targets), len(given.labels)):
        whole = Whole([FeatureView(view) for view in given.views], given.targets)
    if whole is not None:
        return train_streamed(whole, len(given.labels), given.seed, given.progress)
    head, fit = train_linear(given.views, given.targets, len(given.labels), given.seed, given.progress)
    return with_temperature(head, fit, given.views, given.targets, given.seed)


def train_linear(
    views: Sequence[Floats], targets: NDArray[np.int64], classes: int, seed: int, progress: Count = silent
) -> tuple[Head, TrainHead]:
    """Train an L2-regularised logistic regression; the strength is chosen by cross-validation over images.

    The strength with the least log loss on the last view wins: unlike accuracy it also judges how sure
    the head is, which the decision and the reports rely on. Returned with it: how to train the like on other images.
    """
    if in_passes(len(targets), classes):
        return _train_much(views, targets, classes, seed, progress)
    from threadpoolctl import threadpool_limits

    import_module("sklearn.linear_model")  # with its BLAS: only what is loaded can be limited
    mean, scale = standardize(views)
    scaled = [((view - mean) / scale).astype(np.float32) for view in views]
    # These products are thin, and the threads of a BLAS wait for one another longer than they compute: on a
    # busy machine of two cores one thread was 4 to 12 times as fast, from 8 images of 2 classes to 30,000 of 20.
    with threadpool_limits(1, "blas"):
        losses = _cross_validate(scaled, targets, classes, seed, progress)
    strength = STRENGTHS[int(np.argmin(losses))]
    notes = {
        "inverse_strength": strength,
        "cross_validated_log_loss": {str(s): round(v, 4) for s, v in zip(STRENGTHS, losses, strict=True)},
        "views": len(views),
    }

    def fit(views: Sequence[Floats], targets: NDArray[np.int64]) -> Head:
        scaled = [((view - mean) / scale).astype(np.float32) for view in views]
        with threadpool_limits(1, "blas"):
            kernel, bias = _fit(scaled, targets, classes, strength, tolerance=1e-4)
        return Head("linear", (_unscaled(kernel, bias, mean, scale),), notes)

    return fit(views, targets), fit


def _train_much(
    views: Sequence[Floats], targets: NDArray[np.int64], classes: int, seed: int, progress: Count
) -> tuple[Head, TrainHead]:
    head, _ = fit_streamed(Whole([FeatureView(view) for view in views], targets), classes, seed, progress)
    strength = float(head.notes["inverse_strength"])

    def fit(views: Sequence[Floats], targets: NDArray[np.int64]) -> Head:
        return solve_streamed(Whole([FeatureView(view) for view in views], targets), classes, strength)

    return head, fit


def _unscaled(kernel: NDArray[np.float64], bias: NDArray[np.float64], mean: NDArray[np.float64], scale: float) -> Dense:
    """Return the layer for raw pooled features, as the graph sees them."""
    return Dense((kernel / scale).astype(np.float32), (bias - mean @ kernel / scale).astype(np.float32), "softmax")


def _cross_validate(
    views: Sequence[Floats], targets: NDArray[np.int64], classes: int, seed: int, progress: Count
) -> list[float]:
    from sklearn.metrics import log_loss
    from sklearn.model_selection import StratifiedKFold

    fewest = int(np.bincount(targets, minlength=classes).min())
    parts = StratifiedKFold(max(2, min(_FOLDS, fewest)), shuffle=True, random_state=seed)
    folds = list(parts.split(targets, targets))
    losses = np.zeros(len(STRENGTHS))
    done, total = 0, len(folds) * len(STRENGTHS)
    for train, held_out in folds:
        for i, strength in enumerate(STRENGTHS):
            # An image is in train or held out with all its views: else it would be judged by its twin.
            kernel, bias = _fit([v[train] for v in views], targets[train], classes, strength, tolerance=1e-3)
            layer = Dense(kernel.astype(np.float32), bias.astype(np.float32), "softmax")
            probabilities = layer(views[-1][held_out]).astype(np.float64)
            probabilities /= probabilities.sum(axis=1, keepdims=True)
            weights = balance(targets[held_out])
            loss = log_loss(targets[held_out], probabilities, sample_weight=weights, labels=range(classes))
            losses[i] += loss / len(folds)
            done += 1
            progress(done, total)
    return [float(v) for v in losses]


def _fit(
    views: Sequence[Floats], targets: NDArray[np.int64], classes: int, strength: float, tolerance: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return kernel [F, C] and bias [C] for all views together."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    # Views of one image are one piece of evidence, so their weight in the loss is shared.
    model = LogisticRegression(C=strength / len(views), tol=tolerance, max_iter=1000, class_weight="balanced")
    with warnings.catch_warnings():
        # A few steps short of the optimum is no harm: the cross-validation judges what came out.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(np.concatenate(views), np.tile(targets, len(views)))
    kernel, bias = model.coef_.T.astype(np.float64), model.intercept_.astype(np.float64)
    if classes == 2:
        # Two classes come as one set of weights, for the second class against the first.
        kernel = np.concatenate([-kernel / 2, kernel / 2], axis=1)
        bias = np.concatenate([-bias / 2, bias / 2])
    return kernel, bias
