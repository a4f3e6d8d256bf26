"""What looks wrong about new examples: seen before, blurred, or like another class. They are enrolled all the same.

Nothing here compares with a constant that fits one camera. An image is blurred in comparison with the images
of its class, or where there are none with the bundle's own; and it looks like another class when it is as
near to it as that class's examples are to each other. docs/gallery.md says how often each is right.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tlc_edge.runtime.bundle.bundle import Bundle
from tlc_edge.runtime.gallery.gallery import Gallery
from tlc_edge.runtime.gallery.records import EnrollWarning
from tlc_edge.runtime.labels import NONE_OF_THESE
from tlc_edge.runtime.vectors import Floats

from .bank import Bank

_ENOUGH = 4  # references to tell by how much sharpness varies
_REFERENCES = 16
_SPREADS = 4.0
_LEAST_SPREAD = 0.1  # decades; less, among few references, is chance
_CLASS_ROWS = 200
_NEIGHBOURS = 64


@dataclass(frozen=True, eq=False)
class NewExample:
    """A new example: its name, its image's SHA-256, its embedding [D] and its sharpness."""

    name: str
    sha256: str
    embedding: Floats
    sharpness: float | None
    is_blank: bool = False
    """Whether there is nothing on it."""


class Doubts:
    """Looks at new examples beside a bundle's own images and what the gallery holds."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._golden: list[float] | None = None
        self._by_class: dict[str, list[float]] = {}

    def about(
        self, label: str, examples: Sequence[NewExample], bank: Bank, gallery: Gallery
    ) -> tuple[EnrollWarning, ...]:
        """Return what looks wrong about examples that are about to be enrolled as `label`.

        `bank` and `gallery` do not hold them yet.

        Raises:
            GalleryError: the gallery cannot be read.
        """
        found: list[EnrollWarning] = []
        for example, known_as in zip(examples, gallery.labels_of([e.sha256 for e in examples]), strict=True):
            if label in known_as:
                found.append(EnrollWarning("duplicate", example.name, label, "is enrolled already"))
            elif known_as:
                text = f"is enrolled as {known_as[0]!r} too"
                found.append(EnrollWarning("duplicate", example.name, known_as[0], text))
        sharp = [e.sharpness for e in examples if e.sharpness is not None]
        limit = max(blur_limit(known) for known in self._references(label, sharp, gallery))
        for example in examples:
            if example.is_blank or example.sharpness is None:
                found.append(EnrollWarning("blank", example.name, label, "is of one colour: there is nothing on it"))
            elif example.sharpness < limit:
                found.append(EnrollWarning("blur", example.name, label, "looks blurred beside the others"))
        for example, other in zip(examples, lookalikes(label, examples, bank), strict=True):
            if other is not None and label != NONE_OF_THESE:  # what must not pass is shown because it does
                found.append(EnrollWarning("alike", example.name, other, f"looks like {other!r}"))
        self._by_class[label] = [*self._by_class[label], *sharp][-_REFERENCES:]
        return tuple(found)

    def _references(self, label: str, sharp: Sequence[float], gallery: Gallery) -> Sequence[Sequence[float]]:
        """Return what to compare with: the class's latest images and the new ones, or also the bundle's own."""
        if label not in self._by_class:
            held = gallery.examples(label) if label in gallery.classes() else []
            pictures = [gallery.thumbnail(e.id) for e in held[-_REFERENCES:]]
            self._by_class[label] = sharpness_of_files([p for p in pictures if p is not None])
        known = self._by_class[label]
        if len(known) >= _ENOUGH:
            return [known]
        if self._golden is None:
            names = [f for f in self._bundle.manifest.files if f.startswith("golden/") and f.endswith(".png")]
            self._golden = sharpness_of_files([self._bundle.read(name) for name in names])
        return [[*self._golden, *known], [*known, *sharp]]


def sharpness(pixels: NDArray[np.uint8]) -> float | None:
    """Return the decimal logarithm of the Laplacian's variance over the image's own; None for an even image.

    The variance of the Laplacian (Pech-Pacheco et al. 2000) grows with contrast too; divided by the variance
    it does not. `pixels` [H, W, C], at the size at which the model sees them.
    """
    channels = pixels.shape[2]
    grey = pixels[:, :, 0].astype(np.float32)
    for c in range(1, channels):  # numpy is slow at a mean over so short an axis
        grey += pixels[:, :, c]
    grey /= channels
    inner = 4 * grey[1:-1, 1:-1]
    laplacian = inner - grey[:-2, 1:-1] - grey[2:, 1:-1] - grey[1:-1, :-2] - grey[1:-1, 2:]
    contrast, detail = float(grey.var()), float(laplacian.var()) if laplacian.size else 0.0
    return float(np.log10(detail / contrast)) if contrast > 1 and detail > 0 else None


def sharpness_of_files(files: Sequence[bytes]) -> list[float]:
    """Return the sharpness of encoded images that can be read and are not even."""
    found: list[float] = []
    for data in files:
        try:
            with Image.open(io.BytesIO(data)) as image:
                value = sharpness(np.asarray(image.convert("RGB")))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            continue
        if value is not None:
            found.append(value)
    return found


def blur_limit(references: Sequence[float]) -> float:
    """Return the sharpness under which an image looks blurred beside the references; -inf for too few."""
    if len(references) < _ENOUGH:
        return float("-inf")
    middle = float(np.median(references))
    spread = 1.4826 * float(np.median(np.abs(np.array(references) - middle)))  # of a normal distribution, its sd
    return middle - _SPREADS * max(spread, _LEAST_SPREAD)


def lookalikes(label: str, examples: Sequence[NewExample], bank: Bank) -> list[str | None]:
    """Return for each example the other class that it looks like, or None.

    Its nearest neighbour in another class is as near as half of that class's rows are to their own; and either
    nothing of its own class is nearer, or most of the examples look like that class.
    """
    own = bank.labels.index(label) if label in bank.labels else -1
    unit = np.stack([e.embedding / max(float(np.linalg.norm(e.embedding)), 1e-30) for e in examples])
    each_other = unit @ unit.T
    np.fill_diagonal(each_other, -1.0)
    typical: dict[int, float] = {}
    near: list[tuple[int, bool] | None] = []
    for i, example in enumerate(examples):
        rows, similarities = bank.nearest(example.embedding, _NEIGHBOURS)
        is_own = bank.row_class[rows] == own
        if is_own.all():
            near.append(None)
            continue
        first = int(np.argmin(is_own))
        c = int(bank.row_class[rows[first]])
        if c not in typical:
            typical[c] = _typical_nearness(bank, c)
        nearest_own = max(float(each_other[i].max()), float(similarities[is_own].max(initial=-1.0)))
        is_near = float(similarities[first]) >= typical[c]
        near.append((c, float(similarities[first]) > nearest_own) if is_near else None)
    votes = [n[0] for n in near if n is not None]
    return [
        bank.labels[n[0]] if n is not None and (n[1] or 2 * votes.count(n[0]) > len(examples)) else None for n in near
    ]


def _typical_nearness(bank: Bank, c: int) -> float:
    """Return the median cosine of a class's rows to their nearest in it; of a single row, no other is as near."""
    members = np.flatnonzero(bank.row_class == c)
    members = members[:: -(-len(members) // _CLASS_ROWS)]
    if len(members) < 2:
        return 2.0
    unit = bank.take(members)
    similar = unit @ unit.T
    np.fill_diagonal(similar, -1.0)
    return float(np.median(similar.max(axis=1)))
