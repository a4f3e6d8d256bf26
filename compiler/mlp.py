"""The MLP head: one hidden layer of ReLU units and a softmax, trained in Keras with early stopping."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlc.runtime.progress import Count, silent
from tlc.runtime.quiet import quiet

from .heads import standardize
from .records import Dense, Floats, Head

UNITS = 64
EPOCHS = 200
_PATIENCE = 12
_BATCH = 32


def train_mlp(
    views: Sequence[Floats],
    targets: NDArray[np.int64],
    classes: int,
    seed: int,
    progress: Count = silent,
    units: int = UNITS,
) -> Head:
    """Train on all views ([N, F] each) and keep the weights of the best epoch.

    A sixth of the training images, of each class alike, decides when to stop; they train nothing. With
    equal seeds, versions and thread counts the result is the same.
    """
    mean, scale = standardize(views)
    watched = _sixth(targets, seed)
    scaled = [((view - mean) / scale).astype(np.float32) for view in views]
    x = np.concatenate([view[~watched] for view in scaled])
    y = np.tile(targets[~watched], len(views))
    with quiet():
        import keras
        from keras import layers

        initial: list[Any] = [keras.initializers.GlorotUniform(seed=seed + i) for i in range(2)]
        model = keras.Sequential(
            [
                layers.Input((x.shape[1],)),
                # Pooled features of a few images are easily learned by heart.
                layers.Dropout(0.3, seed=seed),
                layers.Dense(
                    units, "relu", kernel_initializer=initial[0], kernel_regularizer=keras.regularizers.L2(1e-3)
                ),
                layers.Dense(classes, "softmax", kernel_initializer=initial[1]),
            ]
        )
        model.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy")
    best, best_loss, waited = model.get_weights(), float("inf"), 0
    generator = np.random.default_rng(seed)
    epoch = 0
    for epoch in range(EPOCHS):
        order = generator.permutation(len(x))
        with quiet():
            for start in range(0, len(order), _BATCH):
                rows = order[start : start + _BATCH]
                model.train_on_batch(x[rows], y[rows])
            loss = _log_loss(np.asarray(model(scaled[-1][watched], training=False)), targets[watched])
        if loss < best_loss - 1e-4:
            best, best_loss, waited = model.get_weights(), loss, 0
        else:
            waited += 1
        progress(epoch + 1, EPOCHS)
        if waited >= _PATIENCE:
            break
    first, first_bias, second, second_bias = (w.astype(np.float64) for w in best)
    hidden = Dense((first / scale).astype(np.float32), (first_bias - mean @ first / scale).astype(np.float32), "relu")
    answer = Dense(second.astype(np.float32), second_bias.astype(np.float32), "softmax")
    notes = {"units": units, "epochs": epoch + 1, "watched_log_loss": round(best_loss, 4), "views": len(views)}
    return Head("mlp", (hidden, answer), notes)


def _sixth(targets: NDArray[np.int64], seed: int) -> NDArray[np.bool_]:
    """Return which images are watched, [N]: a sixth of each class, at least one where it has two or more."""
    generator = np.random.default_rng(seed)
    watched = np.zeros(len(targets), bool)
    for c in np.unique(targets):
        members = generator.permutation(np.flatnonzero(targets == c))
        watched[members[: max(1, len(members) // 6) if len(members) > 1 else 0]] = True
    return watched


def _log_loss(probabilities: Floats, targets: NDArray[np.int64]) -> float:
    if not len(targets):
        return 0.0
    return float(-np.mean(np.log(np.maximum(probabilities[np.arange(len(targets)), targets], 1e-7))))
