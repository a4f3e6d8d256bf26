"""The MLP head: one hidden layer of ReLU units and a softmax, trained with early stopping.

In numpy: it is two products of matrices, and TensorFlow takes longer to load than they take.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.records import Dense, Floats, Head
from tlc_edge.runtime.progress import Count, silent

from .balance import balance, standardize, watch
from .temperature import TrainHead, cooled, held_out_logits
from .training import Training

UNITS = 64
EPOCHS = 300
_PLENTY = 1000  # images of which a sixth can be spared
_PATIENCE = 20
_RATE = 1e-3  # of steps of _BATCH rows; larger steps go further
_BATCH = 32  # rows per step, at least
_STEPS = 32  # an epoch, at most about: with thousands of rows smaller steps only take longer
_MEANS, _SQUARES, _TINY = 0.9, 0.999, 1e-7  # of Adam: how much of the mean gradient and of its mean square stays
_FLOOR = 0.1  # of the common deviation: a feature that hardly moves in training must not be blown up


def make(given: Training) -> Head:
    """Train the head, and beside it those that its temperature is found with."""
    from threadpoolctl import threadpool_limits

    views, targets, classes, seed = given.views, given.targets, len(given.labels), given.seed
    # The limit is the process's own: set once for both, neither can lift it while the other trains.
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(1) as beside:
        fit = partial(_train_again, classes=classes, seed=seed)
        judged = beside.submit(held_out_logits, fit, views, targets, seed)
        head, _ = train_mlp(views, targets, classes, seed, given.progress)
        return cooled(head, judged.result())


def train_mlp(
    views: Sequence[Floats],
    targets: NDArray[np.int64],
    classes: int,
    seed: int,
    progress: Count = silent,
    units: int = UNITS,
) -> tuple[Head, TrainHead]:
    """Train on all views ([N, F] each); returned with the head: how to train the like on other images.

    The weights are held back by a Gaussian prior of unit variance, on features of about unit variance: its pull
    fades as images are added, so it needs no choosing. Of 1,000 images and more a sixth trains nothing and
    decides when to stop. Of fewer, a sixth would decide by chance, and be missed: with it 90 photos of 6 pieces
    came to 0.944 by cross-validation, without it to 0.978; there training ends when it gains nothing any more.
    With equal seeds and versions the result is the same.
    """
    head = _train_one(views, targets, classes, seed, progress, units)
    return head, partial(_train_again, classes=classes, seed=seed, units=units)


def _train_again(
    views: Sequence[Floats], targets: NDArray[np.int64], classes: int, seed: int, units: int = UNITS
) -> Head:
    return _train_one(views, targets, classes, seed, silent, units)


def _train_one(
    views: Sequence[Floats], targets: NDArray[np.int64], classes: int, seed: int, progress: Count, units: int
) -> Head:
    mean, common = standardize(views)
    spread = np.mean([np.square(view - mean).mean(axis=0) for view in views], axis=0)
    scale = np.sqrt(spread + (_FLOOR * common) ** 2)
    scaled = [((view - mean) / scale).astype(np.float32) for view in views]
    watched = watch(targets, seed) if len(targets) >= _PLENTY else np.zeros(len(targets), bool)
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, "blas"):  # as in `linear.train_linear`; and the order of sums is the same everywhere
        weights, epochs, loss = _train(scaled, targets, watched, units, classes, seed, progress)
    first, first_bias, second, second_bias = (w.astype(np.float64) for w in weights)
    kernel = first / scale[:, None]
    hidden = Dense(kernel.astype(np.float32), (first_bias - mean @ kernel).astype(np.float32), "relu")
    answer = Dense(second.astype(np.float32), second_bias.astype(np.float32), "softmax")
    notes = {
        "units": units,
        "epochs": epochs,
        "loss": round(loss, 4),
        "watched": int(watched.sum()),
        "views": len(views),
    }
    return Head("mlp", (hidden, answer), notes)


class _Adam:
    """Steps of Adam (Kingma and Ba 2014, with its own constants) that change weights in place."""

    def __init__(self, weights: Sequence[Floats], rate: float) -> None:
        self._weights, self._rate, self._steps = weights, rate, 0
        self._means = [np.zeros_like(w) for w in weights]
        self._squares = [np.zeros_like(w) for w in weights]

    def step(self, gradients: Sequence[Floats]) -> None:
        """Go one step down."""
        self._steps += 1
        rate = np.float32(self._rate * (1 - _SQUARES**self._steps) ** 0.5 / (1 - _MEANS**self._steps))
        for weight, gradient, mean, square in zip(self._weights, gradients, self._means, self._squares, strict=True):
            mean += np.float32(1 - _MEANS) * (gradient - mean)
            square += np.float32(1 - _SQUARES) * (gradient * gradient - square)
            weight -= rate * mean / (np.sqrt(square) + np.float32(_TINY))


def _glorot(generator: np.random.Generator, rows: int, columns: int) -> Floats:
    limit = (6 / (rows + columns)) ** 0.5
    return generator.uniform(-limit, limit, (rows, columns)).astype(np.float32)


def _forward(weights: Sequence[Floats], x: Floats) -> tuple[Floats, Floats]:
    """Return what the hidden units give, [N, U], and the probabilities, [N, C]."""
    first, first_bias, second, second_bias = weights
    hidden = np.maximum(x @ first + first_bias, 0)
    logits = hidden @ second + second_bias
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return hidden, powers / powers.sum(axis=1, keepdims=True)


def gradients_of(
    weights: Sequence[Floats], x: Floats, y: NDArray[np.int64], weighed: Floats, prior: float
) -> tuple[float, list[Floats]]:
    """Return the mean loss of rows [n, F], the prior's included, and the gradient for each of the weights."""
    first, _, second, _ = weights
    hidden, probabilities = _forward(weights, x)
    rows = np.arange(len(x))
    of_truth = np.maximum(probabilities[rows, y], np.float32(1e-7))
    pull = float(np.vdot(first, first) + np.vdot(second, second))
    loss = float(np.mean(-np.log(of_truth) * weighed)) + prior * pull
    slope = probabilities
    slope[rows, y] -= 1
    slope *= (weighed / np.float32(len(x)))[:, None]
    of_hidden = (slope @ second.T) * (hidden > 0)
    twice = np.float32(2 * prior)
    gradients: list[Any] = [
        x.T @ of_hidden + twice * first,
        of_hidden.sum(axis=0),
        hidden.T @ slope + twice * second,
        slope.sum(axis=0),
    ]
    return loss, gradients


def _train(
    views: Sequence[Floats],
    targets: NDArray[np.int64],
    watched: NDArray[np.bool_],
    units: int,
    classes: int,
    seed: int,
    progress: Count,
) -> tuple[list[Floats], int, float]:
    """Return the best epoch's weights, its number, and its loss: on the watched images, else in training."""
    x, y = np.concatenate([view[~watched] for view in views]), np.tile(targets[~watched], len(views))
    weighed = np.tile(balance(targets[~watched]), len(views)).astype(np.float32)
    generator = np.random.default_rng(seed)
    weights = [
        _glorot(generator, x.shape[1], units),
        np.zeros(units, np.float32),
        _glorot(generator, units, classes),
        np.zeros(classes, np.float32),
    ]
    prior = 0.5 / int(np.count_nonzero(~watched))
    batch = max(_BATCH, len(x) // _STEPS)
    adam = _Adam(weights, _RATE * (batch / _BATCH) ** 0.5)
    # The loss in training falls on for hundreds of epochs that change nothing: there a gain must be worth its time.
    gain = 0.999 if watched.any() else 0.98
    best, best_epoch, best_loss = [w.copy() for w in weights], 0, float("inf")
    for epoch in range(1, EPOCHS + 1):
        order, loss = generator.permutation(len(x)), 0.0
        for start in range(0, len(x), batch):
            rows = order[start : start + batch]
            of_rows, gradients = gradients_of(weights, x[rows], y[rows], weighed[rows], prior)
            adam.step(gradients)
            loss += of_rows * len(rows) / len(x)
        if watched.any():
            loss = _log_loss(_forward(weights, views[-1][watched])[1], targets[watched])
        if loss < gain * best_loss:
            best, best_epoch, best_loss = [w.copy() for w in weights], epoch, loss
        progress(epoch, EPOCHS)
        if epoch - best_epoch >= _PATIENCE:
            break
    return best, best_epoch, best_loss


def _log_loss(probabilities: Floats, targets: NDArray[np.int64]) -> float:
    if not len(targets):
        return 0.0
    losses = -np.log(np.maximum(probabilities[np.arange(len(targets)), targets], 1e-7))
    return float(np.average(losses, weights=balance(targets)))
