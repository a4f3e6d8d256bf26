"""A data set that was looked at: every image through the float trunk, and for each what it is for."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.records import Floats
from tlc_edge.runtime.bundle.manifest import Preprocessing

from .decode import Images, bounded_images
from .duplicates import Group
from .records import Sample, Skipped
from .seen import Seen
from .split import Split, split


@dataclass(frozen=True, eq=False)
class Part:
    """Some of the images, in the order of the data set."""

    samples: tuple[Sample, ...]
    features: Floats
    """What the float trunk gives for them, pooled, [N, F]."""
    classes: NDArray[np.int64]
    """[N]"""


@dataclass(frozen=True, eq=False)
class HeldOut:
    """The images that no step learns from: validation and test."""

    samples: tuple[Sample, ...]
    images: Images
    """[N, H, W, C]"""
    truth: NDArray[np.int64]
    """Their classes, [N]."""
    is_test: NDArray[np.bool_]
    """[N]; the others are validation images."""


@dataclass(frozen=True, eq=False)
class Data:
    """The images of a build that could be read, N in all. Nothing of them but their features is in memory."""

    samples: tuple[Sample, ...]
    labels: tuple[str, ...]
    classes: NDArray[np.int64]
    """Of each image, by its place in `labels`, [N]."""
    parts: Split
    features: Floats
    """What the float trunk gives, pooled, [N, F]."""
    preprocessing: Preprocessing
    skipped: tuple[Skipped, ...] = ()
    duplicates: tuple[Group, ...] = ()
    cached: int = 0
    """Images whose features came out of the cache."""
    notes: tuple[str, ...] = ()
    """What had to be assumed, and what did not work as well as it could; a sentence each, for people."""
    recognised: str = ""
    """What the data were taken for; a line for people."""
    digests: tuple[bytes, ...] = ()
    """SHA-256 of each image: of its file, or of its pixels where it has none. Empty where nobody asked."""
    studied: NDArray[np.int64] | None = None
    """The training images that all but the head is made from, ascending, where there are too many; None: all."""
    measured: NDArray[np.int64] | None = None
    """The held-out images that are measured on, ascending, where there are too many; None: all."""
    seen: Seen | None = None
    """What was read and decoded of the images; None where another machine did it."""

    @property
    def sha256(self) -> str:
        """A digest of which images these are, and of which class: the same whatever their names, and their order.

        It is the SHA-256 of lines `DIGEST LABEL`, sorted, each with a line feed.
        """
        named = zip(self.digests, (s.label for s in self.samples), strict=True)
        lines = sorted(f"{digest.hex()} {label}\n" for digest, label in named)
        return hashlib.sha256("".join(lines).encode("utf-8", "backslashreplace")).hexdigest()

    @cached_property
    def train(self) -> Part:
        """The images to learn from; of too many, those that are studied."""
        return self._part(self.train_rows)

    @property
    def train_rows(self) -> NDArray[np.int64]:
        """Which images these are, ascending."""
        return self.parts.train if self.studied is None else self.studied

    @cached_property
    def held_out(self) -> Part:
        """The images to measure on; of too many, some."""
        return self._part(self.parts.held_out if self.measured is None else self.measured)

    @property
    def sampled(self) -> dict[str, int]:
        """How many images stand for how many more; empty where all are looked at."""
        found: dict[str, int] = {}
        if self.studied is not None:
            found |= {"training": len(self.parts.train), "studied": len(self.studied)}
        if self.measured is not None:
            found |= {"held_out": len(self.parts.held_out), "measured": len(self.measured)}
        return found

    @property
    def counts(self) -> Counter[str]:
        """Images in each part of the split."""
        parts = self.parts
        return Counter(train=len(parts.train), validation=len(parts.validation), test=len(parts.test))

    def decode(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return some of the images, [len(rows), H, W, C].

        Raises:
            DataError: one has changed since it was featurized and can no longer be read.
        """
        shape = (len(rows), self.preprocessing.height, self.preprocessing.width, self.preprocessing.channels)
        images = np.empty(shape, np.uint8)
        for i, image in enumerate(self.images(rows)):
            images[i] = image
        return images

    def images(self, rows: NDArray[np.int64]) -> Images:
        """Return some of the images, [len(rows), H, W, C], in memory where they are few.

        Raises:
            DataError: as in `bounded_images`.
        """
        return bounded_images([self.samples[i] for i in rows], self.preprocessing, self.seen)

    def decode_held_out(self) -> HeldOut:
        """Return the images to measure on.

        Raises:
            DataError: as in `images`.
        """
        part = self.held_out
        rows = self.parts.held_out if self.measured is None else self.measured
        return HeldOut(part.samples, self.images(rows), part.classes, np.isin(rows, self.parts.test))

    def _part(self, rows: NDArray[np.int64]) -> Part:
        return Part(
            tuple(self.samples[i] for i in rows), np.asarray(self.features[rows], np.float32), self.classes[rows]
        )


def split_samples(
    samples: Sequence[Sample], skipped: Sequence[Skipped], seed: int, groups: NDArray[np.int64] | None = None
) -> Split:
    """Split samples by their labels, names and given parts; see `split`.

    Raises:
        DataError: a class is too small.
    """
    return split(
        [s.label for s in samples],
        seed,
        given=[s.split for s in samples],
        names=[s.name for s in samples],
        skipped=Counter(s.label for s in skipped if s.label is not None),
        groups=groups,
    )


def number_classes(
    samples: Sequence[Sample], order: tuple[str, ...] | None = None
) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Return the labels of samples, sorted or in `order`, and the place of each sample's own among them, [N]."""
    labels = order or tuple(sorted({s.label for s in samples}))
    places = {label: i for i, label in enumerate(labels)}
    return labels, np.array([places[s.label] for s in samples], np.int64)
