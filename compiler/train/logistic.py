"""L2-regularised logistic regression in passes over features that memory need not hold.

The objective is scikit-learn's. SciPy's L-BFGS (Liu and Nocedal 1989) finds its least value, in coordinates in which it
is about as curved in all directions: features vary far more in some directions than in others, and as they come L-BFGS
takes three times as many passes. From weights of zero the first step in these coordinates is a linear discriminant.

It has converged when no class is off by more than the tolerance. For k classes that is k times the largest part of the
gradient of the mean loss: how far a feature's mean over the images of a class lies from what the head takes it for, in
deviations of the features. The gradient alone gets smaller as classes get more, and with thousands ends at once.
"""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.records import Dense, Floats

from .balance import balance
from .training import FeatureView

_BATCH = 4096  # images at a time
_VALUES = 8_000_000  # of a batch's logits, at most
_WAITING = 50_000_000  # values of gradients that wait to be added, at most
_SAMPLE = 2048  # images that show in which directions features vary
_AXES = 256  # of these directions; with all of 1,280 it took as many passes, and more time for each
_KEPT = 5  # steps that L-BFGS remembers; with ten it took as many passes
_PASSES = 100  # over all images, for one strength
_ERROR = 0.1  # of the standard error of a mean of as many values as a class has images: as near as the search comes
_NEAR = 0.01  # at least, however few these are
LOOSE = 3
"""Times the tolerance while the strength is chosen."""


def tolerance(images: int, classes: int) -> float:
    """Return by how much a class may be off in the end, in deviations of a feature."""
    return min(_NEAR, _ERROR * math.sqrt(classes / images))


@dataclass(frozen=True, eq=False)
class Weights:
    """What standardized features are multiplied with."""

    kernel: Floats
    """[F, C], float32."""
    bias: Floats
    """[C], float32."""

    def logits(self, x: Floats) -> Floats:
        """Return [N, C] for standardized features [N, F]."""
        return np.asarray(x @ self.kernel + self.bias, np.float32)


@dataclass(frozen=True, eq=False)
class _Looked:
    """What a pass over all images finds."""

    at: Weights
    loss: float
    gradient: NDArray[np.float64]
    """For kernel and bias, [F + 1, C]."""
    doubt: float
    """1 less the mean over images of the sum of squared probabilities: 0 where the head is sure."""

    @property
    def off(self) -> float:
        """By how much a class is off at most."""
        return float(self.gradient.shape[1] * np.abs(self.gradient).max())


@dataclass(frozen=True, eq=False)
class _Coordinates:
    """A symmetric matrix that turns coordinates of even curvature into weights, and the gradient likewise."""

    axes: Floats
    """Directions, [F, R]; at right angles to them all are alike."""
    along: NDArray[np.float64]
    """The factor along each direction, [R]."""
    across: float
    """The factor at right angles to them."""
    bias: float

    def apply(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """Return values [F + 1, C] multiplied."""
        kernel = values[:-1].astype(np.float32)
        factors = (self.along - self.across).astype(np.float32)[:, None]
        turned = self.axes @ (factors * (self.axes.T @ kernel))
        kernel *= np.float32(self.across)
        turned += kernel
        return np.concatenate([turned, np.float32(self.bias) * values[-1:].astype(np.float32)])

    def inverse(self) -> _Coordinates:
        """Return what turns weights into coordinates."""
        return _Coordinates(self.axes, 1 / self.along, 1 / self.across, 1 / self.bias)


@dataclass(eq=False)
class Problem:
    """The loss of a head on views of the same N images, every class weighing the same, and its least value."""

    views: Sequence[FeatureView]
    targets: NDArray[np.int64]
    classes: int
    passes: int = 0
    """Over all images, so far."""
    off: float = 0.0
    """By how much a class was off at most, when the last search ended."""
    mean: NDArray[np.float64] = field(init=False)
    scale: float = field(init=False)
    _axes: Floats = field(init=False)
    _spread: NDArray[np.float64] = field(init=False)
    _rest: float = field(init=False)
    _doubt: float = 1.0

    def __post_init__(self) -> None:
        """Find the mean and the common deviation of the features, as `standardize` does, in a pass."""
        sums, squares, shift = np.zeros(self.views[0].width), 0.0, self.views[0].read(slice(0, 1))[0].astype(np.float64)
        for view in self.views:
            for start in range(0, len(view), _BATCH):
                x = view.read(slice(start, min(start + _BATCH, len(view)))) - shift
                sums += x.sum(axis=0)
                squares += float(np.square(x).sum())
        count = len(self.targets) * len(self.views)
        off = sums / count
        self.mean = shift + off
        self.scale = float(np.sqrt(max(squares / count - float(off @ off), 0.0) / len(off))) or 1.0
        self._find_axes()

    def _find_axes(self) -> None:
        """Find the directions in which some images differ most, the variance along each, and elsewhere on average."""
        view = self.views[-1]
        x = self.standardize(view.read(np.unique(np.linspace(0, len(view) - 1, min(_SAMPLE, len(view))).astype(int))))
        wide = x.shape[1] > len(x)
        found, vectors = np.linalg.eigh((x @ x.T if wide else x.T @ x).astype(np.float64))
        found, vectors = found[-_AXES:], vectors[:, -_AXES:]
        some = found > 1e-6 * max(float(found[-1]), 1e-6)
        found, vectors = found[some], vectors[:, some]
        self._axes = np.asarray(x.T @ (vectors / np.sqrt(found)) if wide else vectors, np.float32)
        self._spread = found / len(x)
        left = float(np.square(x).sum(dtype=np.float64)) / len(x) - float(self._spread.sum())
        self._rest = max(left, 0.0) / max(x.shape[1] - len(found), 1)

    def standardize(self, features: Floats) -> Floats:
        """Return features as the weights want them, [N, F]."""
        x = features - self.mean.astype(np.float32)
        x /= np.float32(self.scale)
        return x

    def start(self) -> Weights:
        """Return weights of zero."""
        return Weights(np.zeros((self.views[0].width, self.classes), np.float32), np.zeros(self.classes, np.float32))

    def layer(self, at: Weights) -> Dense:
        """Return the layer for raw features, as the graph sees them."""
        kernel = at.kernel / np.float32(self.scale)
        return Dense(kernel, (at.bias - self.mean @ kernel).astype(np.float32), "softmax")

    def solve(self, at: Weights, strength: float, near: float, rows: NDArray[np.int64] | None = None) -> Weights:
        """Return the weights with the least objective.

        Args:
            at: where to begin.
            strength: the inverse strength; views of one image are one piece of evidence.
            near: by how much a class may be off, in deviations of a feature.
            rows: the images that train, ascending; None: all.
        """
        from scipy.optimize import minimize

        trained = np.arange(len(self.targets)) if rows is None else rows
        penalty = 1 / (strength * len(trained))
        last = self.passes + _PASSES
        looked = best = self._look(at, trained, penalty)
        coordinates = self._coordinates(penalty)
        # SciPy's first step has the length 1: in this unit that is as far as the curvature says.
        unit = float(np.linalg.norm(coordinates.apply(looked.gradient))) or 1.0
        begin = coordinates.inverse().apply(np.concatenate([at.kernel, at.bias[None]])).astype(np.float64).ravel()
        begin /= unit

        def objective(point: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            nonlocal looked
            if not np.array_equal(point, begin):
                there = coordinates.apply(unit * point.reshape(-1, self.classes))
                looked = self._look(Weights(there[:-1], there[-1]), trained, penalty)
            return looked.loss, unit * coordinates.apply(looked.gradient).astype(np.float64).ravel()

        def stop(_point: NDArray[np.float64]) -> None:
            nonlocal best
            best = looked
            if best.off <= near or self.passes >= last:
                raise StopIteration

        if best.off > near:
            options = {"maxcor": _KEPT, "maxfun": _PASSES, "maxiter": _PASSES, "ftol": 0, "gtol": 0}
            minimize(objective, begin, jac=True, method="L-BFGS-B", callback=stop, options=options)
        self.off, self._doubt = best.off, best.doubt
        return best.at

    def _coordinates(self, penalty: float) -> _Coordinates:
        """Return coordinates in which the objective is about as curved in all directions, around where it was last.

        The curvature for the weights of one class is the mean of p (1 - p) x xᵀ over the images, and the penalty; here
        p (1 - p) is taken for the same in all images and classes.
        """
        doubt = max(self._doubt, 1e-3) / self.classes
        return _Coordinates(
            self._axes,
            1 / np.sqrt(doubt * self._spread + penalty),
            1 / float(np.sqrt(doubt * self._rest + penalty)),
            1 / float(np.sqrt(doubt)),
        )

    def _look(self, at: Weights, trained: NDArray[np.int64], penalty: float) -> _Looked:
        """Return the objective and its gradient at some weights: a pass over all images."""
        self.passes += 1
        loss, sure, gradient = 0.0, 0.0, np.zeros((len(at.kernel) + 1, self.classes))
        for batch_loss, batch_sure, batch_gradient in self._batches(at, trained):
            loss += batch_loss
            sure += batch_sure
            gradient += batch_gradient
        whole = len(trained) * len(self.views)
        gradient /= whole
        gradient[:-1] += penalty * at.kernel
        square = float(np.einsum("ij,ij->", at.kernel, at.kernel, dtype=np.float64))
        return _Looked(at, loss / whole + penalty / 2 * square, gradient, 1 - sure / whole)

    def _batches(self, at: Weights, trained: NDArray[np.int64]) -> Iterator[tuple[float, float, NDArray[np.float32]]]:
        """Yield what each batch adds, in order; a few are computed at once."""
        weights = balance(self.targets[trained])
        size = max(64, min(_BATCH, _VALUES // self.classes))
        threads = max(1, min(os.cpu_count() or 1, _WAITING // at.kernel.size - 1))
        waiting: deque[Future[tuple[float, float, NDArray[np.float32]]]] = deque()
        with ThreadPoolExecutor(threads) as pool:
            for view in self.views:
                for start in range(0, len(trained), size):
                    some = slice(start, min(start + size, len(trained)))
                    rows = some if len(trained) == len(view) else trained[some]
                    waiting.append(pool.submit(self._batch, view, rows, at, weights[some]))
                    if len(waiting) > threads:
                        yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def _batch(
        self, view: FeatureView, rows: slice | NDArray[np.int64], at: Weights, weights: NDArray[np.float64]
    ) -> tuple[float, float, NDArray[np.float32]]:
        """Return what some images add to the loss, to how sure the head is, and to the gradient."""
        x, truth = self.standardize(view.read(rows)), self.targets[rows]
        own = weights.astype(np.float32)
        logits = at.logits(x)
        logits -= logits.max(axis=1, keepdims=True)
        each = np.arange(len(x))
        picked = logits[each, truth].astype(np.float64)
        np.exp(logits, out=logits)
        total = logits.sum(axis=1, dtype=np.float64)
        loss = float(weights @ (np.log(total) - picked))
        logits /= total.astype(np.float32)[:, None]
        sure = float(own @ np.einsum("ij,ij->i", logits, logits))
        logits[each, truth] -= 1
        logits *= own[:, None]
        return loss, sure, np.concatenate([x.T @ logits, logits.sum(axis=0, keepdims=True)])
