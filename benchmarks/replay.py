"""A build's bundle without its model: features once, then every trial in numpy, by the project's own functions.

The trunk runs over each image once, in float32 and int8 and in every look, and its features are kept in the cache of
`tlc build`. What a build makes of them (alignment, neck, whitening, exemplars, what "unknown" is found from) takes a
moment. One int8 trunk serves a set of images, calibrated on a hundred of them; a build would calibrate its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from few_shot_trials import Trial
from numpy.typing import NDArray

from tlc_edge.compiler.backbones.find import load_backbone
from tlc_edge.compiler.backbones.shave import shave
from tlc_edge.compiler.bundle.assemble import DECISION
from tlc_edge.compiler.bundle.exemplars import choose_exemplars
from tlc_edge.compiler.bundle.unknown import measure_knownness
from tlc_edge.compiler.cache.folder import caching
from tlc_edge.compiler.data.augment import copies
from tlc_edge.compiler.data.calibration_set import choose_calibration
from tlc_edge.compiler.data.decode import images_of
from tlc_edge.compiler.data.looks import LOOKS
from tlc_edge.compiler.data.records import Sample
from tlc_edge.compiler.data.views import PLAIN, View
from tlc_edge.compiler.features.align import Alignment, align
from tlc_edge.compiler.features.featurize import TrunkFile, featurize, trunk_file
from tlc_edge.compiler.features.trunk_files import TrunkFiles
from tlc_edge.compiler.options import DEFAULT_AUGMENT, PER_CLASS
from tlc_edge.compiler.records import Floats, Head, Looks, Neck
from tlc_edge.compiler.train.heads import train_head
from tlc_edge.compiler.train.neck import make_neck
from tlc_edge.compiler.train.whiten import whiten
from tlc_edge.runtime.bundle.bundle import Exemplars
from tlc_edge.runtime.gallery.records import GalleryRows
from tlc_edge.runtime.knn.bank import Bank
from tlc_edge.runtime.knn.prediction import answer, basis
from tlc_edge.runtime.knn.unknown import Knownness
from tlc_edge.runtime.labels import NONE_OF_THESE
from tlc_edge.runtime.vectors import quantize_rows, row_lengths, unit_rows

_CALIBRATION = 100
_APART = 1_000_000  # ids from here on are of what must not pass
_LOOKED_AT = 300
_RATE = 0.05


class Featurizer:
    """Pooled features of one set of images."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.trunk = shave(load_backbone("efficientnet-lite0"))
        self._spec = self.trunk.backbone.input.preprocessing
        self._files = TrunkFiles(self.trunk)
        self._float = self._files.as_float()
        some = np.random.default_rng(0).permutation(len(paths))[:_CALIBRATION]
        images = images_of([_sample(paths[i]) for i in some], self._spec)
        self._int8 = trunk_file(self._files.get("tflite", "int8", images), self.trunk.width)
        self._known: dict[tuple[str, str, Path], Floats] = {}

    def as_float(self, paths: Sequence[Path]) -> Floats:
        """Return what the float trunk gives, [N, F]."""
        return self._features(self._float, "float32", PLAIN, paths)

    def as_int8(self, paths: Sequence[Path], view: View = PLAIN) -> Floats:
        """Return what the int8 trunk gives, [N, F]."""
        return self._features(self._int8, "int8", view, paths)

    def _features(self, file: TrunkFile, scheme: str, view: View, paths: Sequence[Path]) -> Floats:
        missing = [p for p in dict.fromkeys(paths) if (scheme, view.id, p) not in self._known]
        if missing:
            with caching(None) as cache:
                found = featurize(file, [_sample(p) for p in missing], self._spec, cache=cache, view=view).features
            self._known.update({(scheme, view.id, p): row for p, row in zip(missing, found, strict=True)})
        return np.stack([self._known[scheme, view.id, p] for p in paths])


def _sample(path: Path) -> Sample:
    return Sample(path, "", None, str(path))


@dataclass(frozen=True, eq=False)
class Replayed:
    """What a device would have of a bundle."""

    featurizer: Featurizer
    neck: Neck
    alignment: Alignment
    exemplars: Floats
    """[E, D], as the device's file embeds them."""
    exemplar_classes: NDArray[np.int64]
    labels: tuple[str, ...]
    knownness: Knownness
    head: Head | None = None
    """Where it was asked for."""

    def answers(self, bank: Bank, paths: Sequence[Path]) -> list[str]:
        """Return what the device says these are, whether it is known or not."""
        assert self.head is not None
        based = basis(bank, DECISION, self.knownness, _RATE)
        probabilities = self.head.probabilities(self.alignment.apply(self.featurizer.as_int8(paths)))
        return [answer(p, e, based, {}).label for p, e in zip(probabilities, self.embed(paths), strict=True)]

    def embed(self, paths: Sequence[Path], view: View = PLAIN) -> Floats:
        """Return images as the device embeds them, [N, D]."""
        if not paths:
            return np.zeros((0, self.neck.width), np.float32)
        return self.neck.project(self.alignment.for_neck(self.featurizer.as_int8(paths, view)))

    def bank(self) -> Bank:
        """Return the device's bank before anything is enrolled; without base classes where the bundle has no head."""
        rows, scales = quantize_rows(self.exemplars)
        stored = Exemplars(unit_rows(rows), self.exemplar_classes, row_lengths(rows) * scales)
        return Bank(stored, self.labels, self.knownness.shift)

    def enroll(self, bank: Bank, label: str, paths: Sequence[Path]) -> None:
        """Enroll images as one operation."""
        rows, scales = quantize_rows(self.embed(paths))
        first = len(bank) + 1
        bank.append(GalleryRows(np.arange(first, first + len(rows)), (label,) * len(rows), rows, scales, 0))

    def show(self, bank: Bank, paths: Sequence[Path]) -> NDArray[np.int64]:
        """Enroll images as what must not pass; return their ids."""
        rows, scales = quantize_rows(self.embed(paths))
        ids = np.arange(_APART, _APART + len(rows))
        bank.append(GalleryRows(ids, (NONE_OF_THESE,) * len(rows), rows, scales, 0))
        return ids

    def take_back(self, bank: Bank, ids: NDArray[np.int64]) -> None:
        """Take these out again."""
        width = self.neck.width
        none = GalleryRows(ids[:0], (), np.zeros((0, width), np.int8), np.zeros(0, np.float32), 0, removed=ids)
        bank.append(none)


def replay(
    trial: Trial, featurizer: Featurizer, *, head: bool = True, trained: bool = False, seed: int = 0
) -> Replayed:
    """Make of a trial's base images what a build makes of its training images; without a head none are shipped.

    Training one takes seconds, so only where it is asked for (`trained`) is one made.
    """
    labels = tuple(sorted({label for _, label in trial.base}))
    paths = [path for path, _ in trial.base]
    classes = np.array([labels.index(label) for _, label in trial.base], np.int64)
    plain, rounded = featurizer.as_float(paths), featurizer.as_int8(paths)
    neck = make_neck(featurizer.trunk, plain, root=True)
    alignment = align(rounded, plain, neck.root)
    device = alignment.for_neck(rounded)
    some = np.sort(choose_calibration(classes, np.arange(len(paths)), _LOOKED_AT, seed))
    through = partial(featurizer.as_int8, [paths[i] for i in some])
    looks = Looks(some, tuple(alignment.for_neck(through(view)) for view in LOOKS.values()))
    views = [plain, device]
    whitened = whiten(neck, views, classes, looks)
    chosen = choose_exemplars(whitened.project(plain), classes, len(labels), PER_CLASS)
    knownness = measure_knownness(neck, views, device, classes, chosen, seed, looks, shipped=head)
    shipped = chosen if head else chosen[:0]
    exemplars = whitened.project(device[shipped])
    made = None
    if trained:
        varied = [featurizer.as_int8(paths, view) for view in copies(DEFAULT_AUGMENT, 1, seed)]
        seen = [*map(alignment.apply, varied), plain, alignment.apply(rounded)]
        made = train_head("linear", seen, classes, labels, seed)
    names = labels if head else ()
    return Replayed(featurizer, whitened, alignment, exemplars, classes[shipped], names, knownness, made)
