"""The linear head of more images than memory holds: logistic regression by L-BFGS, in passes over the features.

The same objective as scikit-learn's, and its measure of convergence: the largest part of the gradient of the mean loss.
Limited-memory BFGS after Liu and Nocedal 1989, with a line search that backtracks (Armijo's condition).
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.records import Dense, Floats, Head
from tlc_edge.runtime.progress import Count, silent

from .balance import STRENGTHS, balance
from .temperature import best_temperature, tempered
from .training import FeatureView, Whole

STREAMED = 50_000
"""Images to train on; of more a head is trained in passes, on one machine and on many."""
_BATCH = 4096  # images at a time
_VALUES = 4_000_000  # of a batch's logits, at most
_KEPT = 10  # steps that L-BFGS remembers
_MANY = 3_000_000  # weights, from which on they are float32, and fewer steps are remembered
_WATCHED = 10_000  # images that choose the strength and the temperature, at most
_PASSES = 100  # over all images, for one strength
_LOOSE, _TIGHT = 1e-3, 1e-4  # largest part of the gradient: while the strength is chosen, and in the end

Array = NDArray[Any]


def train_streamed(whole: Whole, classes: int, seed: int, progress: Count = silent) -> Head:
    """Train an L2-regularised logistic regression on views of the same N images, every class weighing the same.

    A part of the images, at most `_WATCHED` and a quarter of each class, chooses the strength and the temperature by
    heads that were trained without them; each strength begins where the one before it ended, and a loss that rises ends
    the search. Then all images train. Notes say how many passes it took and how large the gradient was in the end.
    """
    from threadpoolctl import threadpool_limits

    views, targets = whole.views, whole.targets
    with threadpool_limits(1, "blas"):  # batches run at once, and the order of all sums is the same everywhere
        problem = _Problem(views, targets, classes)
        watched = _watched(targets, classes, seed)
        truth, looked = (
            targets[watched],
            np.asarray((views[-1].read(watched) - problem.mean) / problem.scale, np.float32),
        )
        weights = np.zeros(len(targets))
        rest = np.setdiff1d(np.arange(len(targets)), watched)
        weights[rest] = balance(targets[rest])
        at, losses, best = problem.start(), list[float](), problem.start()
        for done, strength in enumerate(STRENGTHS, 1):
            at = problem.solve(at, weights, strength, _LOOSE)
            losses.append(_log_loss(_logits(at, looked), truth))
            progress(done, len(STRENGTHS) + 1)
            if losses[-1] > min(losses):
                break
            best = at
        strength = STRENGTHS[int(np.argmin(losses))]
        temperature = best_temperature(_logits(best, looked), truth)
        final = problem.solve(best, balance(targets), strength, _TIGHT)
    progress(len(STRENGTHS) + 1, len(STRENGTHS) + 1)
    kernel, bias = final[:-1].astype(np.float64), final[-1].astype(np.float64)
    layer = Dense(
        (kernel / problem.scale).astype(np.float32),
        (bias - problem.mean @ kernel / problem.scale).astype(np.float32),
        "softmax",
    )
    notes = {
        "inverse_strength": strength,
        "held_out_log_loss": {str(s): round(v, 4) for s, v in zip(STRENGTHS, losses, strict=False)},
        "views": len(views),
        "solver": "streamed L-BFGS",
        "images": len(targets),
        "chosen_on": len(watched),
        "passes": problem.passes,
        "gradient": float(f"{problem.gradient:.2g}"),
        "converged": problem.gradient <= _TIGHT,
        "temperature": round(temperature, 4),
    }
    return tempered(Head("linear", (layer,), notes), temperature)


def _watched(targets: NDArray[np.int64], classes: int, seed: int) -> NDArray[np.int64]:
    """Return images that are watched, ascending: up to a quarter of each class, the same number of each."""
    generator = np.random.default_rng(seed)
    most = max(1, _WATCHED // classes)
    order = np.argsort(targets, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(targets, minlength=classes))[:-1])
    return np.sort(np.concatenate([generator.permutation(m)[: min(most, len(m) // 4)] for m in members]))


def _logits(at: Array, x: Floats) -> Floats:
    return np.asarray(x @ at[:-1].astype(np.float32) + at[-1].astype(np.float32), np.float32)


def _log_loss(logits: Floats, truth: NDArray[np.int64]) -> float:
    z = logits.astype(np.float64)
    z -= z.max(axis=1, keepdims=True)
    losses = np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(z)), truth]
    return float(np.average(losses, weights=balance(np.unique(truth, return_inverse=True)[1])))


@dataclass(eq=False)
class _Problem:
    """The loss of a head on all views, and its gradient; kernel and bias are one array [F + 1, C]."""

    views: Sequence[FeatureView]
    targets: NDArray[np.int64]
    classes: int
    passes: int = 0
    gradient: float = 0.0
    """The largest part of the last one."""
    mean: NDArray[np.float64] = field(init=False)
    scale: float = field(init=False)

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

    def start(self) -> Array:
        """Return weights of zero."""
        shape = (self.views[0].width + 1, self.classes)
        return np.zeros(shape, np.float32 if shape[0] * shape[1] > _MANY else np.float64)

    def _batch(self, view: FeatureView, rows: slice, at: Array, weights: NDArray[np.float64]) -> tuple[float, Array]:
        """Return what some images add to the loss and to the gradient."""
        x = np.asarray((view.read(rows) - self.mean) / self.scale, np.float32)
        logits = _logits(at, x)
        logits -= logits.max(axis=1, keepdims=True)
        truth, own = self.targets[rows], weights[rows]
        picked = logits[np.arange(len(x)), truth].astype(np.float64)
        np.exp(logits, out=logits)
        total = logits.sum(axis=1, dtype=np.float64)
        loss = float(own @ (np.log(total) - picked))
        logits *= (own / total).astype(np.float32)[:, None]
        logits[np.arange(len(x)), truth] -= own.astype(np.float32)
        return loss, np.concatenate([x.T @ logits, logits.sum(axis=0, keepdims=True)])

    def _batches(self, at: Array, weights: NDArray[np.float64]) -> Iterator[tuple[float, Array]]:
        """Yield what each batch adds, in order; a few are computed at once."""
        size = max(64, min(_BATCH, _VALUES // self.classes))
        threads = os.cpu_count() or 1
        waiting: deque[Future[tuple[float, Array]]] = deque()
        with ThreadPoolExecutor(threads) as pool:
            for view in self.views:
                for start in range(0, len(view), size):
                    rows = slice(start, min(start + size, len(view)))
                    if weights[rows].any():
                        waiting.append(pool.submit(self._batch, view, rows, at, weights))
                    if len(waiting) > threads:
                        yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def _look(self, at: Array, weights: NDArray[np.float64], strength: float) -> tuple[float, Array]:
        """Return the objective and its gradient at some weights: a pass over all images."""
        self.passes += 1
        whole = float(weights.sum()) * len(self.views)
        penalty = len(self.views) / (strength * whole)  # views of one image are one piece of evidence
        loss, gradient = 0.0, np.zeros_like(at, np.float64)
        for of_batch, added in self._batches(at, weights):
            loss += of_batch
            gradient += added
        gradient /= whole
        gradient[:-1] += penalty * at[:-1]
        return loss / whole + penalty / 2 * float(np.square(at[:-1], dtype=np.float64).sum()), gradient.astype(at.dtype)

    def solve(self, at: Array, weights: NDArray[np.float64], strength: float, tolerance: float) -> Array:
        """Return the weights with the least objective, from `at` on."""
        kept = _KEPT // 2 if at.dtype == np.float32 else _KEPT
        steps: deque[tuple[Array, Array, float]] = deque(maxlen=kept)
        value, gradient = self._look(at, weights, strength)
        last = self.passes + _PASSES
        while True:
            self.gradient = float(np.abs(gradient).max())
            if self.gradient <= tolerance or self.passes >= last:
                return at
            direction = _direction(gradient, steps)
            slope = float(np.vdot(gradient, direction))
            size = 1.0 if steps else min(1.0, 1.0 / float(np.linalg.norm(gradient)))
            while True:
                there = at + size * direction
                new, turned = self._look(there, weights, strength)
                if new <= value + 1e-4 * size * slope or self.passes >= last:
                    break
                size /= 2
            if new > value:  # float32 sees no smaller loss
                return at
            step, change = there - at, turned - gradient
            curved = float(np.vdot(step, change))
            if curved > 1e-12 * float(np.vdot(change, change)):
                steps.append((step, change, curved))
            at, value, gradient = there, new, turned


def _direction(gradient: Array, steps: Sequence[tuple[Array, Array, float]]) -> Array:
    """Return where to go: the gradient through the inverse curvature that the last steps showed, in two loops."""
    q = -gradient
    factors: list[float] = []
    for step, change, curved in reversed(steps):
        factors.append(float(np.vdot(step, q)) / curved)
        q = q - factors[-1] * change
    if steps:
        _, change, curved = steps[-1]
        q = q * (curved / float(np.vdot(change, change)))
    for (step, change, curved), factor in zip(steps, reversed(factors), strict=True):
        q = q + (factor - float(np.vdot(change, q)) / curved) * step
    return np.asarray(q, gradient.dtype)
