"""Measure what images are called unknown by, and count the mistakes made with it: false alarms and false accepts.

The neck's whitening is fitted to the training images, so these lie nearer to each other than new images will
lie to them: measured on them, every threshold would be far too high. So all is measured across folds, with a
whitening that has not seen the images in question. For base classes, images are held out in folds; for classes
that are enrolled later, whole classes are, since the neck will have seen nothing of theirs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.records import NO_LOOKS, Floats, Looks, Neck
from tlc_edge.compiler.train.whiten import Scatter, scatter, whitening
from tlc_edge.runtime.bundle.bundle import Exemplars
from tlc_edge.runtime.gallery.records import GalleryRows
from tlc_edge.runtime.knn.bank import Bank
from tlc_edge.runtime.knn.cut import Measured
from tlc_edge.runtime.knn.unknown import Knownness, find_limits, is_unwanted
from tlc_edge.runtime.vectors import quantize_rows, row_lengths, unit_rows

_HALF = (
    0.5  # of the way back to where the neck centred: 0.3 to 0.5 told known from unknown best, on icons, chess, digits
)
_FOLDS = 5
_CLASS_FOLDS = 10
_PER_CLASS = 30  # images of a class that are measured; more would cost time and tell little
_ASKED = 3000  # images that are held against the exemplars, evenly from all
_CLASSES = 300  # that are left out in turn, as if they were enrolled
_PORTION = 1024  # images whose cosines to all exemplars are in memory at a time
_EXAMPLES = (1, 2, 3, 5, 10, 20)
_DRAWS = 3  # subsets of each size
_TESTED = 1000  # test images on which mistakes are counted
_TURNS = 100  # classes that are left out one by one, each with a bank of the others; of more, one of `_PARTS` at once
_PARTS = 20
IN_TURN = ("each class in turn", "each twentieth of the classes in turn")
_KEPT = 200
_QUANTILES = np.linspace(0, 1, 101)


def measure_knownness(
    neck: Neck,
    views: Sequence[Floats],
    device: Floats,
    classes: NDArray[np.int64],
    exemplars: NDArray[np.int64],
    seed: int,
    looks: Looks = NO_LOOKS,
    *,
    shipped: bool = True,
) -> Knownness:
    """Measure how near new images come to what is stored.

    Args:
        neck: before it is whitened.
        views: features of the N training images, [N, F] each, that the whitening is fitted to.
        device: their features as the device's file gives them, [N, F].
        classes: their classes, [N].
        exemplars: which of them stand for their classes.
        seed: equal seeds give equal measures.
        looks: changed copies of some of them, which the whitening is fitted to as well.
        shipped: whether the exemplars travel with the bundle.
    """
    draw = np.random.default_rng(seed)
    folded = _Folded(neck, views, device, classes, looks)
    some = np.concatenate([np.sort(draw.permutation(m)[:_PER_CLASS]) for m in folded.members()])
    few = _few_examples(folded, some, draw)
    base = _base_classes(folded, some, exemplars, draw)
    numbers = [n for n in _EXAMPLES if few[n]]

    def table(column: int) -> Floats:
        found = [np.quantile([pair[column] for pair in few[n]], _QUANTILES) for n in numbers]
        # More examples never make the nearest one less near; where fewer classes have as many, chance might say so.
        return np.maximum.accumulate(np.array(found, np.float32).reshape(-1, len(_QUANTILES)), axis=0)

    examples = np.array(numbers, np.int64)
    shift = (folded.shift @ folded.whitening(np.ones(len(classes), np.bool_))).astype(np.float32)
    measured = Measured(examples, table(1), base.claimed, base.lengths)
    return Knownness(shift, base.nearest if shipped else base.nearest[:0], examples, table(0), measured)


class _Folded:
    """The training images' embeddings, as necks see them that were whitened with only some of the images."""

    def __init__(
        self,
        neck: Neck,
        views: Sequence[Floats],
        device: Floats,
        classes: NDArray[np.int64],
        looks: Looks = NO_LOOKS,
    ) -> None:
        self.classes = classes
        self.looks = [neck.project(look) for look in looks.features]
        self.place = np.full(len(classes), -1)
        """Of each image, its place among those that were looked at in other ways; -1 for the others, [N]."""
        self.place[looks.rows] = np.arange(len(looks.rows))
        self._rows = looks.rows
        self._whitened = neck.kernel is not None
        self._views = [neck.project(view) for view in views]
        self._device = neck.project(device)
        mean = self._device.mean(axis=0, dtype=np.float64)
        # What a neck with a matrix centred on is in its bias, negative; one without has not centred.
        self.shift = -_HALF * (mean if neck.bias is None else neck.bias.astype(np.float64))

    def members(self) -> list[NDArray[np.int64]]:
        """Return the images of each class."""
        return list(_members(self.classes).values())

    def whitening(self, fit: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Return the whitening that these images give; the identity for none, as for a neck without a matrix."""
        if not self._whitened:
            return np.eye(self._device.shape[1])
        out = ~fit
        # The sums of what is in a fold are those of all, made once, less those of the few that are not.
        return whitening(self._all - self._sums(out) if 2 * out.sum() < len(out) else self._sums(fit))

    @cached_property
    def _all(self) -> Scatter:
        return self._sums(np.ones(len(self.classes), np.bool_))

    def _sums(self, some: NDArray[np.bool_]) -> Scatter:
        seen, count = some[self._rows], int(self.classes.max(initial=-1)) + 1
        found = Scatter.empty(self._device.shape[1], count)
        for view in self._views:
            found += scatter(view[some], self.classes[some], count)
        for look in self.looks:
            found += scatter(look[seen], self.classes[self._rows[seen]], count)
        return found

    def unit(self, images: NDArray[np.int64], root: NDArray[np.float64]) -> Floats:
        """Return images as known-ness compares them, by a neck with this whitening."""
        return self._shifted(self._device[images], root)[0]

    def looked(
        self, images: NDArray[np.int64], look: int, root: NDArray[np.float64]
    ) -> tuple[NDArray[np.bool_], Floats, Floats]:
        """Return which of the images were looked at in this way, 0 as they are; these as `unit`, and their lengths."""
        if not look:
            return np.ones(len(images), np.bool_), *self._shifted(self._device[images], root)
        there = self.place[images] >= 0
        return there, *self._shifted(self.looks[look - 1][self.place[images[there]]], root)

    def _shifted(self, projected: Floats, root: NDArray[np.float64]) -> tuple[Floats, Floats]:
        rows, scales = quantize_rows((projected @ root).astype(np.float32))
        unit = unit_rows((rows * scales[:, None] + self.shift @ root).astype(np.float32))
        return unit, row_lengths(rows) * scales


def _members(classes: NDArray[np.int64]) -> dict[int, NDArray[np.int64]]:
    """Return the places of each class that is there, ascending."""
    order = np.argsort(classes, kind="stable")
    starts = np.flatnonzero(np.diff(classes[order], prepend=-1))
    return dict(zip(classes[order[starts]].tolist(), np.split(order, starts[1:]), strict=True)) if len(order) else {}


@dataclass(frozen=True, eq=False)
class _Base:
    """What base classes say to their own images."""

    nearest: Floats
    """Known-ness of images beside the nearest exemplar, ascending."""
    claimed: Floats
    """[M, L], as in `Measured`."""
    lengths: Floats
    """[M, L]"""


def _base_classes(
    folded: _Folded, some: NDArray[np.int64], exemplars: NDArray[np.int64], draw: np.random.Generator
) -> _Base:
    """Measure images beside the exemplars, each in a fold that neck and exemplars know nothing of."""
    fold = np.full(len(folded.classes), -1)
    for members in folded.members():
        fold[draw.permutation(members)] = np.arange(len(members)) % _FOLDS
    some = some[np.linspace(0, len(some) - 1, min(_ASKED, len(some))).astype(np.int64)]
    scores: list[Floats] = []
    claimed = np.full((len(exemplars), 1 + len(folded.looks)), np.nan, np.float32)
    lengths = claimed.copy()
    for f in range(_FOLDS):
        asked, stored, here = some[fold[some] == f], exemplars[fold[exemplars] != f], fold[exemplars] == f
        if not len(stored):
            continue
        root = folded.whitening(fold != f)
        unit = folded.unit(stored, root)
        if len(asked):
            scores.append((folded.unit(asked, root) @ unit.T).max(axis=1))
        for look in range(claimed.shape[1]):
            there, images, length = folded.looked(exemplars[here], look, root)
            if len(images):
                rows = np.flatnonzero(here)[there]
                claimed[rows, look] = _claims(images, unit, folded.classes[stored]).max(axis=1)
                lengths[rows, look] = np.log(np.maximum(length, 1e-30))
    found = np.sort(np.concatenate(scores)) if scores else np.zeros(0, np.float32)
    if len(found) > _KEPT:
        found = np.quantile(found, np.linspace(0, 1, _KEPT))
    return _Base(found.astype(np.float32), claimed, lengths)


def _claims(images: Floats, stored: Floats, classes: NDArray[np.int64]) -> Floats:
    """Return what each class claims of images: see `tlc_edge.runtime.knn.cut`; all are shifted and of unit length."""
    order = np.argsort(classes, kind="stable")
    starts = np.flatnonzero(np.diff(classes[order], prepend=-1))
    rows = stored[order]
    means = unit_rows(np.add.reduceat(rows, starts, axis=0))
    portions = np.array_split(images, len(images) // _PORTION + 1)
    nearest = np.concatenate([np.maximum.reduceat(some @ rows.T, starts, axis=1) for some in portions])
    return np.asarray((nearest + images @ means.T) / 2, np.float32)


def _few_examples(
    folded: _Folded, some: NDArray[np.int64], draw: np.random.Generator
) -> dict[int, list[tuple[float, float]]]:
    """Return the known-ness of images beside n others of their class, for a neck that knows nothing of the class.

    And what a class of these others claims of them.
    """
    scores: dict[int, list[tuple[float, float]]] = {n: [] for n in _EXAMPLES}
    present = draw.permutation(np.unique(folded.classes))[:_CLASSES]
    of_class = _members(folded.classes[some])
    for out in np.array_split(present, min(_CLASS_FOLDS, len(present))):
        root = folded.whitening(~np.isin(folded.classes, out))
        for c in out:
            unit = folded.unit(some[of_class[c]], root)
            similar = unit @ unit.T
            for i in range(len(unit)):
                others = np.delete(np.arange(len(unit)), i)
                for n in _EXAMPLES:
                    if n <= len(others):
                        scores[n] += [_beside(similar, i, draw.choice(others, n, replace=False)) for _ in range(_DRAWS)]
    return scores


def _beside(similar: Floats, i: int, others: NDArray[np.int64]) -> tuple[float, float]:
    """Return the cosine of image i to the nearest of others, and half of it with half of that to their mean."""
    beside = similar[i, others]
    nearest = float(beside.max())
    length = float(np.sqrt(max(similar[np.ix_(others, others)].sum(dtype=np.float64), 1e-30)))
    return nearest, (nearest + float(beside.sum(dtype=np.float64)) / length) / 2


@dataclass(frozen=True, eq=False)
class StoredRows:
    """What a device compares with: exemplars that travel with the bundle, or the same images enrolled."""

    embeddings: Floats
    """[N, D], as the device's file gives them."""
    classes: NDArray[np.int64]
    """[N]"""
    enrolled: bool

    def shipped(self) -> tuple[Floats, NDArray[np.int64]]:
        """Return the embeddings and classes that travel with the bundle."""
        return (self.embeddings[:0], self.classes[:0]) if self.enrolled else (self.embeddings, self.classes)

    def without(self, classes: NDArray[np.int64]) -> StoredRows:
        """Return it as if these classes were not there."""
        keep = ~np.isin(self.classes, classes)
        return StoredRows(self.embeddings[keep], self.classes[keep], self.enrolled)

    def bank(self, shift: Floats, unwanted: Floats | None = None) -> Bank:
        """Return it as a device holds it, `unwanted` [U, D] as what must not pass."""
        rows, scales = quantize_rows(self.embeddings)
        if not self.enrolled:
            exemplars = Exemplars(unit_rows(rows), self.classes, row_lengths(rows) * scales)
            labels = tuple(str(c) for c in range(int(self.classes.max(initial=-1)) + 1))
            return Bank(exemplars, labels, shift, unwanted)
        none = Exemplars(np.zeros((0, rows.shape[1]), np.float32), np.zeros(0, np.int64))
        bank = Bank(none, (), shift, unwanted)
        names = tuple(str(c) for c in self.classes)
        bank.append(GalleryRows(np.arange(1, len(rows) + 1), names, rows, scales, 0))
        return bank


def count_mistakes(
    knownness: Knownness,
    rate: float,
    k: int,
    stored: StoredRows,
    test: Floats,
    classes: NDArray[np.int64],
    foreign: Floats | None,
    looked: Mapping[str, Floats] | None = None,
) -> dict[str, Any]:
    """Return how often known images are called unknown, and foreign ones are not; as the manifest's metrics show it.

    Args:
        knownness: what the bundle carries.
        rate: the false-alarm rate that is asked for.
        k: how many neighbours the device looks at.
        stored: what the images are compared with.
        test: embeddings of test images, [N, D]: they decided nothing. Of many an even part is counted on.
        classes: their classes, [N].
        foreign: embeddings of images of anything else, [M, D]; None leaves each class out in turn, or each twentieth
            of many, with the test images of what is left out in the place of foreign ones.
        looked: embeddings of test images in other looks, [L, D] each, by the look's name.
    """
    rule = Rule(knownness, rate, k)
    some = np.linspace(0, len(test) - 1, min(_TESTED, len(test))).astype(np.int64)
    test, classes, present = test[some], classes[some], np.unique(classes)
    if foreign is None:
        turns = np.array_split(present, _PARTS if len(present) > _TURNS else max(1, len(present)))
        found = [
            rule.without(np.isin(stored.classes, out)).unknown(stored.without(out), test[np.isin(classes, out)])
            for out in turns
        ]
        strange = np.concatenate(found) if found else np.zeros(0, np.bool_)
    else:
        strange = rule.unknown(stored, foreign)
    return {
        "rate": rate,
        "test_images": len(test),
        "false_alarms": int(np.count_nonzero(rule.unknown(stored, test))),
        "foreign": "--unknown-data" if foreign is not None else IN_TURN[len(present) > _TURNS],
        "foreign_images": len(strange),
        "false_accepts": int(np.count_nonzero(~strange)),
        "looks": {
            name: {"images": len(some), "false_alarms": int(np.count_nonzero(rule.unknown(stored, some)))}
            for name, some in (looked or {}).items()
        },
    }


@dataclass(frozen=True, eq=False)
class Rule:
    """By what a device judges what is unknown."""

    knownness: Knownness
    """What the bundle carries."""
    rate: float
    """The false-alarm rate that is asked for."""
    k: int
    """How many neighbours the device looks at."""

    def beside(self, unwanted: Floats) -> Rule:
        """Return it with examples of what must not pass, [U, D]."""
        return replace(self, knownness=replace(self.knownness, unwanted=unwanted))

    def without(self, rows: NDArray[np.bool_]) -> Rule:
        """Return it as if these of the stored rows had not been there when the build measured."""
        measured = self.knownness.measured
        if measured is None or len(rows) != len(measured.claimed):
            return self
        rest = replace(measured, claimed=measured.claimed[~rows], lengths=measured.lengths[~rows])
        return replace(self, knownness=replace(self.knownness, measured=rest))

    def unknown(self, stored: StoredRows, embeddings: Floats) -> NDArray[np.bool_]:
        """Return for each embedding [N, D] whether a device that stores this calls it unknown."""
        from threadpoolctl import threadpool_limits

        with threadpool_limits(1, "blas"):  # these products are thin: its threads would wait for one another
            bank = stored.bank(self.knownness.shift, self.knownness.unwanted)
            limits = find_limits(self.knownness, self.rate, bank)
            near = (bank.nearby(e, self.k) for e in embeddings)
            said = [is_unwanted(n) or known < asked for n in near for known, asked in (limits.judge(n),)]
        return np.array(said, np.bool_)
