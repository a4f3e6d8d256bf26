"""Fine-tune: train the last layers of a trunk together with a head, a little, from where they are.

Everything before the first layer that is trained runs once: what it gives is what the training reads. Batch
norms were folded into their convolutions when the backbone was loaded, and those that could not be are kept
in inference mode. Half of the images of an epoch are left as they are, the others are augmented copies, where
there are any. The best epoch by a sixth of the training images wins; where none is better than the start,
the trunk stays as it was.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.network.fingerprint import fingerprint
from tlc_edge.compiler.network.layers import nodes
from tlc_edge.compiler.options import FineTune
from tlc_edge.compiler.records import Floats, Head, Trunk
from tlc_edge.compiler.train.balance import balance
from tlc_edge.runtime.progress import Count, silent
from tlc_edge.runtime.quiet import quiet

from .checkpoints import Checkpoints, State
from .cut import Cut, cut_before
from .layers import ChosenLayers
from .tensorboard import Logs

_BATCH = 16
_PATIENCE = 5


@dataclass(frozen=True, eq=False)
class Tuned:
    """What came of it."""

    trunk: Trunk
    """Another than was given, unless nothing was gained."""
    epoch: int
    """The best one; 0 is the start."""
    losses: tuple[float, ...]
    """Log loss on the watched images, at the start and after each epoch."""
    resumed: int
    """Epochs that an earlier run had done."""


def fine_tune(
    trunk: Trunk,
    head: Head,
    choice: ChosenLayers,
    views: Iterable[NDArray[np.uint8]],
    targets: NDArray[np.int64],
    watched: NDArray[np.bool_],
    settings: FineTune,
    seed: int,
    progress: Count = silent,
) -> Tuned:
    """Train the layers of `choice` and the head.

    Args:
        trunk: stays as it is.
        head: trained on the trunk's features of the images that are not watched; where training starts.
        choice: the layers to train; at least one. `choose` sees to it that what they read fits into memory.
        views: the training images [N, H, W, C], and augmented copies of them; each is let go before the next is taken.
        targets: class indices, [N].
        watched: which images train nothing and judge each epoch, [N]; `head` must not have seen them either.
        settings: how long, how fast, and what is kept.
        seed: decides the order of the images.
        progress: told the epochs done.

    Raises:
        BuildError: the checkpoints are of other work.
    """
    cut = cut_before(trunk, choice.layers, head)
    recipe = _recipe(trunk, choice, targets, (settings.learning_rate, seed))
    inputs: list[list[Floats]] = []
    pictures: NDArray[np.uint8] | None = None
    for images in views:
        recipe.update(np.ascontiguousarray(images))
        inputs.append(cut.run_prefix(images))
        pictures = images[:8].copy() if pictures is None else pictures
        del images  # the next may take as much again
    assert pictures is not None
    run = _Run(cut, inputs, targets, watched, settings, seed)
    state = run.train(pictures, progress, recipe.hexdigest())
    if not state.best_epoch:
        return Tuned(trunk, 0, tuple(state.losses), run.resumed)
    cut.set_weights(state.best)
    return Tuned(replace(trunk, model=cut.trunk, facts=None), state.best_epoch, tuple(state.losses), run.resumed)


class _Run:
    """One training."""

    def __init__(
        self,
        cut: Cut,
        views: Sequence[list[Floats]],
        targets: NDArray[np.int64],
        watched: NDArray[np.bool_],
        settings: FineTune,
        seed: int,
    ) -> None:
        import keras

        self.resumed = 0
        self._cut, self._views, self._targets = cut, views, targets
        self._settings, self._seed = settings, seed
        self._train, self._watched = np.flatnonzero(~watched), np.flatnonzero(watched)
        if not len(self._watched):  # a class of one image: judge by what is trained on
            self._watched = self._train
        self._weights = np.zeros(len(targets))
        self._weights[self._train] = balance(targets[self._train])
        self._optimizer: Any = keras.optimizers.Adam(settings.learning_rate)
        cut.model.compile(self._optimizer, "sparse_categorical_crossentropy", weighted_metrics=["accuracy"])
        self._optimizer.build(cut.model.trainable_variables)

    def train(self, pictures: NDArray[np.uint8], progress: Count, recipe: str) -> State:
        """Run the epochs that are left and return the last state."""
        settings = self._settings
        checkpoints = Checkpoints(settings.checkpoints, recipe)
        state = checkpoints.load() if settings.resume else None
        if state is None:
            loss, _ = self._judge()
            state = State(0, self._cut.get_weights(), [], 0, self._cut.get_weights(), [loss])
        else:
            self._cut.set_weights(state.weights)
            for variable, value in zip(self._optimizer.variables, state.optimizer, strict=True):
                variable.assign(value)
            self.resumed = state.epoch
        with Logs(settings.logdir) as logs:
            logs.start(pictures, self._cut.model)
            while state.epoch < settings.epochs and state.epoch - state.best_epoch < _PATIENCE:
                state = self._epoch(state, logs)
                checkpoints.save(state)
                progress(state.epoch, settings.epochs)
        return state

    def _epoch(self, state: State, logs: Logs) -> State:
        epoch = state.epoch + 1
        chance = np.random.default_rng([self._seed, epoch])
        order = chance.permutation(self._train)
        # Half of them plain: the device's own pictures are the rule.
        chosen = chance.integers(len(self._views), size=len(order)) * (chance.random(len(order)) < 0.5)
        trained = (0.0, 0.0)
        with quiet():
            self._cut.model.reset_metrics()
            for start in range(0, len(order), _BATCH):
                rows, of = order[start : start + _BATCH], chosen[start : start + _BATCH]
                x = [
                    np.stack([self._views[v][i][row] for v, row in zip(of, rows, strict=True)])
                    for i in range(len(self._views[0]))
                ]
                loss, accuracy = self._cut.model.train_on_batch(x, self._targets[rows], self._weights[rows])
                trained = (float(loss), float(accuracy))
        loss, accuracy = self._judge()
        logs.epoch(epoch, trained, (loss, accuracy))
        weights = self._cut.get_weights()
        better = loss < min(state.losses)
        return State(
            epoch=epoch,
            weights=weights,
            optimizer=[v.numpy().copy() for v in self._optimizer.variables],
            best_epoch=epoch if better else state.best_epoch,
            best=weights if better else state.best,
            losses=[*state.losses, loss],
        )

    def _judge(self) -> tuple[float, float]:
        """Return log loss and accuracy on the watched images as they are, every class weighing the same."""
        given: list[Floats] = []
        for start in range(0, len(self._watched), _BATCH):
            rows = self._watched[start : start + _BATCH]
            with quiet():
                given.append(np.asarray(self._cut.model([x[rows] for x in self._views[0]], training=False)))
        probabilities, truth = np.concatenate(given), self._targets[self._watched]
        losses = -np.log(np.maximum(probabilities[np.arange(len(truth)), truth], 1e-7))
        weights = balance(truth)
        right = probabilities.argmax(axis=1) == truth
        return float(np.average(losses, weights=weights)), float(np.average(right, weights=weights))


def _recipe(trunk: Trunk, choice: ChosenLayers, targets: NDArray[np.int64], settings: tuple[float, int]) -> Any:
    """Return a hash of all that decides the training but for its length, and but for the images."""
    # By their places: Keras names layers without a name as they come.
    names = [n.name for n in nodes(trunk.model)]
    places = [names.index(name) for name in choice.layers]
    digest = hashlib.sha256(json.dumps([fingerprint(trunk), places, settings]).encode())
    digest.update(targets.tobytes())
    return digest
