"""The MLP head: one hidden layer of ReLU units and a softmax, trained in Keras with early stopping."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.records import Dense, Floats, Head
from tlc_edge.runtime.progress import Count, silent
from tlc_edge.runtime.quiet import quiet

from .balance import balance, standardize, watch
from .temperature import TrainHead, with_temperature
from .training import Training

UNITS = 64
EPOCHS = 300
_PLENTY = 1000  # images of which a sixth can be spared
_PATIENCE = 20
_RATE = 1e-3  # of steps of _BATCH rows; larger steps go further
_BATCH = 32  # rows per step, at least
_STEPS = 32  # an epoch, at most about: with thousands of rows smaller steps only take longer
_FLOOR = 0.1  # of the common deviation: a feature that hardly moves in training must not be blown up


def make(given: Training) -> Head:
    """Train the head and find its temperature."""
    head, fit = train_mlp(given.views, given.targets, len(given.labels), given.seed, given.progress)
    return with_temperature(head, fit, given.views, given.targets, given.seed)


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
    With equal seeds, versions and thread counts the result is the same.
    """
    head = _train_one(views, targets, classes, seed, progress, units)
    return head, lambda v, t: _train_one(v, t, classes, seed, silent, units)


def _train_one(
    views: Sequence[Floats], targets: NDArray[np.int64], classes: int, seed: int, progress: Count, units: int
) -> Head:
    mean, common = standardize(views)
    spread = np.mean([np.square(view - mean).mean(axis=0) for view in views], axis=0)
    scale = np.sqrt(spread + (_FLOOR * common) ** 2)
    scaled = [((view - mean) / scale).astype(np.float32) for view in views]
    watched = watch(targets, seed) if len(targets) >= _PLENTY else np.zeros(len(targets), bool)
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


def _network(width: int, units: int, classes: int, trained: int, seed: int) -> Any:
    import keras
    from keras import layers

    initial: list[Any] = [keras.initializers.GlorotUniform(seed=seed + i) for i in range(2)]
    prior = keras.regularizers.L2(0.5 / trained)
    return keras.Sequential(
        [
            layers.Input((width,)),
            layers.Dense(units, "relu", kernel_initializer=initial[0], kernel_regularizer=prior),
            layers.Dense(classes, "softmax", kernel_initializer=initial[1], kernel_regularizer=prior),
        ]
    )


def _epoch_of(network: Any, x: Floats, y: NDArray[np.int64], weights: NDArray[np.float64], batch: int) -> Any:
    """Return a function that trains one epoch in an order of rows [N] and returns its mean loss.

    An epoch is one graph: called step by step from Python, the steps waited three times as long as they computed.
    """
    import keras
    import tensorflow as tf

    entropy: Any = keras.losses.SparseCategoricalCrossentropy(reduction="none")
    optimizer: Any = keras.optimizers.Adam(_RATE * (batch / _BATCH) ** 0.5)
    variables: Any = network.trainable_variables
    optimizer.build(variables)
    of_x, of_y, of_weights = (tf.constant(v, t) for v, t in ((x, "float32"), (y, "int64"), (weights, "float32")))

    def epoch(order: Any) -> Any:
        total = tf.constant(0.0)
        for start in tf.range(0, len(x), batch):
            rows = order[start : start + batch]
            with tf.GradientTape() as tape:
                losses = entropy(tf.gather(of_y, rows), network(tf.gather(of_x, rows), training=True))
                loss = tf.reduce_mean(losses * tf.gather(of_weights, rows)) + tf.add_n(network.losses)
            optimizer.apply(tape.gradient(loss, variables), variables)
            total += loss * tf.cast(tf.size(rows), tf.float32)
        return total / len(x)

    return tf.function(epoch, input_signature=[tf.TensorSpec([len(x)], tf.int64)])


def _train(
    views: Sequence[Floats],
    targets: NDArray[np.int64],
    watched: NDArray[np.bool_],
    units: int,
    classes: int,
    seed: int,
    progress: Count,
) -> tuple[list[NDArray[np.float32]], int, float]:
    """Return the best epoch's weights, its number, and its loss: on the watched images, else in training."""
    x, y = np.concatenate([view[~watched] for view in views]), np.tile(targets[~watched], len(views))
    weights = np.tile(balance(targets[~watched]), len(views))
    generator = np.random.default_rng(seed)
    with quiet():
        network = _network(x.shape[1], units, classes, int(np.count_nonzero(~watched)), seed)
        train_epoch = _epoch_of(network, x, y, weights, max(_BATCH, len(x) // _STEPS))
    # The loss in training falls on for hundreds of epochs that change nothing: there a gain must be worth its time.
    gain = 0.999 if watched.any() else 0.98
    best, best_epoch, best_loss = network.get_weights(), 0, float("inf")
    for epoch in range(1, EPOCHS + 1):
        with quiet():
            loss = float(train_epoch(generator.permutation(len(x))))
            if watched.any():
                loss = _log_loss(np.asarray(network(views[-1][watched], training=False)), targets[watched])
        if loss < gain * best_loss:
            best, best_epoch, best_loss = network.get_weights(), epoch, loss
        progress(epoch, EPOCHS)
        if epoch - best_epoch >= _PATIENCE:
            break
    return best, best_epoch, best_loss


def _log_loss(probabilities: Floats, targets: NDArray[np.int64]) -> float:
    if not len(targets):
        return 0.0
    losses = -np.log(np.maximum(probabilities[np.arange(len(targets)), targets], 1e-7))
    return float(np.average(losses, weights=balance(targets)))
