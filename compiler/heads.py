"""The linear head: L2-regularised logistic regression whose strength is chosen by cross-validation."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlc.runtime.progress import Count, silent

from .records import Floats, Head

# Inverse strengths to choose from, for features centred and divided by one common deviation, so that the
# range suits every backbone. With EfficientNet-Lite0 the best was 0.1 on 3,500 digits and 0.1 to 1 on 72 photos.
STRENGTHS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
_FOLDS = 5
_PLENTY = 1000  # images from which one held-out quarter tells as much as five folds


def train_linear(
    features: Floats,
    targets: NDArray[np.int64],
    classes: int,
    seed: int,
    progress: Count = silent,
) -> Head:
    """Train on `features` [N, F] and class indices `targets` [N]; every class must occur.

    The strength with the least cross-validated log loss wins: unlike accuracy it also judges how sure
    the head is, which the decision and the reports rely on. Equal seeds give equal heads.
    """
    mean = features.mean(axis=0, dtype=np.float64)
    scale = float(np.sqrt(np.mean(np.square(features - mean)))) or 1.0
    scaled = ((features - mean) / scale).astype(np.float32)
    losses = _cross_validate(scaled, targets, classes, seed, progress)
    strength = STRENGTHS[int(np.argmin(losses))]
    kernel, bias = _fit(scaled, targets, classes, strength, tolerance=1e-4)
    return Head(
        kind="linear",
        # Undo the scaling inside the weights: the graph sees raw pooled features.
        kernel=(kernel / scale).astype(np.float32),
        bias=(bias - mean @ kernel / scale).astype(np.float32),
        notes={
            "inverse_strength": strength,
            "cross_validated_log_loss": {str(s): round(v, 4) for s, v in zip(STRENGTHS, losses, strict=True)},
        },
    )


def _cross_validate(
    features: Floats,
    targets: NDArray[np.int64],
    classes: int,
    seed: int,
    progress: Count,
) -> list[float]:
    from sklearn.metrics import log_loss
    from sklearn.model_selection import StratifiedKFold, StratifiedShuffleSplit

    fewest = int(np.bincount(targets, minlength=classes).min())
    if len(targets) >= _PLENTY and fewest >= 4:
        parts: Any = StratifiedShuffleSplit(1, test_size=0.25, random_state=seed)
    else:
        parts = StratifiedKFold(max(2, min(_FOLDS, fewest)), shuffle=True, random_state=seed)
    folds = list(parts.split(features, targets))
    losses = np.zeros(len(STRENGTHS))
    done, total = 0, len(folds) * len(STRENGTHS)
    for train, held_out in folds:
        for i, strength in enumerate(STRENGTHS):
            kernel, bias = _fit(features[train], targets[train], classes, strength, tolerance=1e-3)
            probabilities = softmax(features[held_out] @ kernel + bias)
            losses[i] += log_loss(targets[held_out], probabilities, labels=range(classes)) / len(folds)
            done += 1
            progress(done, total)
    return [float(v) for v in losses]


def _fit(
    features: Floats, targets: NDArray[np.int64], classes: int, strength: float, tolerance: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return kernel [F, C] and bias [C]."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=strength, tol=tolerance, max_iter=1000)
    with warnings.catch_warnings():
        # A few steps short of the optimum is no harm: the cross-validation judges what came out.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(features, targets)
    kernel, bias = model.coef_.T.astype(np.float64), model.intercept_.astype(np.float64)
    if classes == 2:
        # Two classes come as one set of weights, for the second class against the first.
        kernel = np.concatenate([-kernel / 2, kernel / 2], axis=1)
        bias = np.concatenate([-bias / 2, bias / 2])
    return kernel, bias


def softmax(logits: NDArray[Any]) -> NDArray[np.float64]:
    """Return probabilities, rows of `logits` [N, C]."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))
