"""The bank: every vector that KNN compares with, in memory, and which class each belongs to.

The bundle's exemplars come first, the gallery's examples after them. A bank that is loaded with more rows
than a full product is worth, or than memory is free for, keeps them as `BoundedRows`; the answers are the
same. It is decided when the rows are loaded, so that no prediction ever waits for a conversion.
"""

from __future__ import annotations

import math
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tlc_edge.runtime.bundle.bundle import Exemplars
from tlc_edge.runtime.vectors import Floats, distinct, unit_rows, unit_rows_and_lengths

from .claims import Claims, Samples
from .cut import Claimed
from .leave_one_out import LeaveOneOut
from .means import Means
from .search import BoundedRows, FloatRows, Rows, principal_axes
from .unwanted import Unwanted

if TYPE_CHECKING:
    from tlc_edge.runtime.gallery.records import GalleryRows

MANY = 20_000
"""Rows from which on the bound is faster than the full product, measured in docs/search.md."""

_PORTION = 4096
_MEMINFO = Path("/proc/meminfo")


class Nearby(NamedTuple):
    """The rows nearest to an embedding, best first; the earlier row wins a tie. One list entry per row."""

    rows: list[int]
    ids: list[int]
    """The gallery's ids; 0 for exemplars."""
    classes: list[int]
    own: list[bool]
    """Whether it is one of the bundle's exemplars; else it is an enrolled example."""
    cosines: list[float]
    to_means: list[float]
    """The embedding's cosine to the mean of the row's class."""
    knownness: list[float]
    """The cosine with both moved by the shift, as `tlc_edge.runtime.knn.unknown` tells."""
    claims: Floats
    """What each class claims of the embedding, [C]; see `tlc_edge.runtime.knn.cut`."""
    length: float
    """The embedding's."""
    unit: Floats
    """The embedding, of unit length, [D]."""
    unwanted: float
    """The known-ness beside the nearest example of what must not pass; -2 where there is none."""


class Bank:
    """The rows to search, and which class each belongs to."""

    def __init__(
        self,
        exemplars: Exemplars,
        labels: tuple[str, ...],
        shift: Floats | None = None,
        unwanted: Floats | None = None,
    ) -> None:
        """Start with what a bundle brings.

        Args:
            exemplars: of the base classes.
            labels: the base classes.
            shift: what known-ness adds to embeddings, [D]; by default nothing.
            unwanted: embeddings of what must not pass, [U, D]; by default none.
        """
        self.labels: list[str] = list(labels)
        """Base classes first, then those only in the gallery, in the order in which they came."""
        self.exemplars = len(exemplars.labels)
        self._base = labels
        self._exemplars = exemplars
        width = exemplars.vectors.shape[1]
        self._shift = np.zeros(width, np.float32) if shift is None else shift
        self._shift_squared = float(np.dot(self._shift, self._shift))
        self._unwanted = Unwanted(
            np.zeros((0, width), np.float32) if unwanted is None else unwanted, self._shift, labels
        )
        self.clear()

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def row_class(self) -> NDArray[np.int64]:
        """Class index of every row, [N]."""
        return self._class[: len(self)]

    @property
    def ids(self) -> NDArray[np.int64]:
        """The gallery's id of every row, [N]; 0 for exemplars."""
        return self._ids[: len(self)]

    def nearest(self, embedding: Floats, k: int) -> tuple[NDArray[np.int64], Floats]:
        """Return the k rows nearest to `embedding` [D] and their cosines, best first; the earlier row wins a tie."""
        return self._rows.nearest(_unit(embedding), k)

    def take(self, rows: NDArray[np.int64]) -> Floats:
        """Return rows of unit length, float32 [n, D]."""
        return self._rows.take(rows)

    def embeddings(self, rows: NDArray[np.int64]) -> Floats:
        """Return rows of their own length, float32 [n, D]."""
        return self._rows.take(rows) * self._lengths[rows][:, None]

    def shifted(self, rows: NDArray[np.int64]) -> Floats:
        """Return rows as known-ness compares them: of their own length, moved by the shift, then of unit length."""
        return unit_rows(self.embeddings(rows) + self._shift)

    def nearby(self, embedding: Floats, k: int) -> Nearby:
        """Return the k rows nearest to `embedding` [D], and all that a decision asks about them.

        Known-ness follows from the cosines before the shift, and from numbers kept for every row: the rows
        themselves are read once.
        """
        exemplars = self.exemplars
        squared = float(np.dot(embedding, embedding))
        length = math.sqrt(squared) or 1.0
        unit = embedding / np.float32(length)
        rows, cosines = self._rows.nearest(unit, k)
        classes = self._class[rows]
        near: list[float] = cosines.tolist()
        shift, along = self._shift_squared, float(np.dot(embedding, self._shift))
        moved = math.sqrt(max(0.0, squared + 2 * along + shift)) or 1.0
        found: list[int] = rows.tolist()
        of: list[int] = classes.tolist()
        knownness: list[float] = []
        best: dict[int, float] = {}
        each = zip(of, self._lengths[rows].tolist(), self._leans[rows].tolist(), near, strict=True)
        for c, row, lean, cosine in each:
            squared_beside = row * row + 2 * row * lean + shift
            beside = math.sqrt(squared_beside) if squared_beside > 0 else 1.0
            one = (row * (length * cosine + lean) + along + shift) / (beside * moved)
            knownness.append(one)
            if c not in best or not best[c] > one:
                best[c] = one
        count = len(self.labels)
        toward: Floats = (embedding + self._shift) * np.float32(1 / moved)
        claims: Floats = self._shifted_means.of(count) @ toward
        # A class with no row among the nearest has none that is nearer than its mean, as good as always.
        for c, one in best.items():
            claims[c] = (one + claims.item(c)) / 2
        return Nearby(
            found,
            self._ids[rows].tolist(),
            of,
            [row < exemplars for row in found],
            near,
            (self._means.of(count)[classes] @ unit).tolist(),  # not by take: where intp is 32 bits, it refuses int64
            knownness,
            claims,
            length,
            unit,
            self._unwanted.nearest(toward),
        )

    def claimed(self) -> Claimed:
        """Return what the classes claim of images whose right class is known."""
        own, enrolled = self._claims.samples(len(self.labels))
        has_exemplars = np.bincount(self._exemplars.labels.astype(np.intp), minlength=len(self.labels)) > 0
        of_exemplars = self._claims_of(own)
        of_exemplars[:, has_exemplars] = -np.inf
        of_enrolled = self._claims_of(enrolled)
        every, right = np.arange(len(enrolled.rows)), enrolled.classes
        weights = self._weights[enrolled.rows]
        # Its own class without itself, and without the examples that it is the mean of.
        rest = self._shifted_means.sums(len(self.labels))[right] - weights[:, None] * enrolled.vectors
        beside = np.einsum("ij,ij->i", unit_rows(rest.astype(np.float32)), enrolled.vectors)
        alone = enrolled.nearest[every, right] < -1.5
        of_enrolled[every, right] = np.where(alone, -np.inf, (enrolled.nearest[every, right] + beside) / 2)
        lengths = np.log(np.maximum(self._lengths[enrolled.rows].astype(np.float64), 1e-30))
        return Claimed(own.rows, of_exemplars, right, of_enrolled, lengths, weights)

    def _claims_of(self, samples: Samples) -> NDArray[np.float64]:
        to_means = samples.vectors @ self._shifted_means.of(len(self.labels)).T
        claims = (samples.nearest.astype(np.float64) + to_means) / 2
        claims[samples.nearest < -1.5] = -np.inf
        return claims

    def to_class_means(self, unit: Floats) -> Floats:
        """Return the cosine of a vector of unit length [D] to the mean of every class, [C]; 0 where it has no rows."""
        return np.asarray(self._means.of(len(self.labels)) @ unit, np.float32)

    def heard(self) -> Floats | None:
        """Return which means of classes are heard, [C]: 0 for those that are, -inf for classes without rows.

        None while nothing is enrolled; and where a class of the bundle has no exemplars, as it would lose by that.
        """
        own, enrolled = self.counts()
        if not enrolled.any() or not own[: len(self._base)].all():
            return None
        return np.where(own + enrolled > 0, 0.0, -np.inf).astype(np.float32)

    def sums(self) -> NDArray[np.float64]:
        """Return the sum of the unit rows of each class, each as often as it stands for, [C, D]."""
        return self._means.sums(len(self.labels)).copy()

    def counts(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return how many exemplars and how many enrolled rows each class has, [C] and [C]."""
        # As intp: where that is 32 bits, bincount refuses int64.
        own = np.bincount(self._exemplars.labels.astype(np.intp), minlength=len(self.labels))
        return own, np.bincount(self.row_class.astype(np.intp), minlength=len(self.labels)) - own

    def taught(self) -> NDArray[np.int64]:
        """Return how many examples were enrolled of each class, [C]: a merged row is as many as it stands for."""
        enrolled = slice(self.exemplars, len(self))
        counts = np.bincount(self._class[enrolled].astype(np.intp), self._weights[enrolled], minlength=len(self.labels))
        return counts.astype(np.int64)

    def unwanted(self) -> Floats:
        """Return the examples of what must not pass, as known-ness compares them, [n, D]."""
        return self._unwanted.rows

    def can_take(self, rows: GalleryRows) -> bool:
        """Return whether `append` can: no more rows of classes may go than come."""
        coming, going = self._unwanted.leaves(rows)
        return going <= coming

    def clear(self) -> None:
        """Take every enrolled row out again."""
        self._unwanted.clear()
        self.labels[:] = self._base
        self._index = {label: i for i, label in enumerate(self._base)}
        self._class = np.array(self._exemplars.labels, np.int64)
        self._ids = np.zeros(self.exemplars, np.int64)
        self._weights = np.ones(self.exemplars, np.int64)
        lengths = self._exemplars.lengths
        self._lengths = np.ones(self.exemplars, np.float32) if lengths is None else np.array(lengths, np.float32)
        self._leans = self._exemplars.vectors @ self._shift  # each unit row along the shift
        vectors = self._exemplars.vectors
        self._means, self._shifted_means = (Means(len(self._base), vectors.shape[1]) for _ in range(2))
        self._count_in(np.arange(self.exemplars), vectors)
        self._point(np.arange(len(self._base)))
        self.is_on_disk = False
        """Whether the rows lie in files, there being more than half of what memory is free."""
        self._hold(FloatRows(vectors.shape[1]))

    def append(self, rows: GalleryRows) -> None:
        """Add enrolled rows, in time that does not depend on how many there are.

        A new row takes the place of one that was removed, else it goes behind the others. No more rows
        may have been removed than there are new ones, see `can_take`; load all of them again then.
        """
        rows = self._unwanted.set_apart(rows)
        count = len(self)
        holes = np.flatnonzero(np.isin(self.ids, rows.removed)) if len(rows.removed) else rows.removed
        changed = self._class[holes]
        for hole in holes.tolist():
            self._leave_one_out.remove(hole, int(self._class[hole]))
            self._claims.remove(hole, int(self._class[hole]))
            c, weight, row = int(self._class[hole]), int(self._weights[hole]), np.array([hole])
            self._means.take_out(c, self._rows.take(row)[0], weight)
            self._shifted_means.take_out(c, self.shifted(row)[0], weight)
        behind = len(rows.ids) - len(holes)
        if count == self.exemplars and _too_many(count + behind + rows.left, rows.vectors.shape[1]):
            self._hold(self._bounded(rows, count + behind + rows.left))
        self._reserve(count + behind)
        places = np.concatenate([holes, np.arange(count, count + behind)])
        self._class[places] = [self._class_of(label) for label in rows.labels]
        self._ids[places] = rows.ids
        self._weights[places] = 1 if rows.stands_for is None else rows.stands_for
        self._means.make_room(len(self.labels))
        self._shifted_means.make_room(len(self.labels))
        for i, hole in enumerate(holes.tolist()):
            self._rows.put(hole, self._take_in(places[i : i + 1], rows.vectors[i : i + 1], rows.scales[i : i + 1])[0])
        for start in range(len(holes), len(rows.ids), _PORTION):
            part = slice(start, start + _PORTION)
            self._rows.append(self._take_in(places[part], rows.vectors[part], rows.scales[part]))
        self._point(distinct(np.concatenate([changed, self._class[places]])))
        added = list(zip(places.tolist(), self._class[places].tolist(), strict=True))
        self._leave_one_out.add(added)
        self._claims.add(added)

    def enrolled_scores(self) -> list[Floats]:
        """Return the enrolled rows' own known-ness, one array per class, each beside its class with itself left out."""
        return self._leave_one_out.scores()

    def _hold(self, rows: Rows) -> None:
        self._rows = rows
        self._rows.append(self._exemplars.vectors)
        self._leave_one_out = LeaveOneOut(_Shifted(self))
        self._claims = Claims(_Shifted(self), self._exemplars.labels, self._exemplars.vectors.shape[1])

    def _bounded(self, rows: GalleryRows, total: int) -> BoundedRows:
        width = rows.vectors.shape[1]
        thinned = rows.vectors[:: max(1, len(rows.ids) // _PORTION)] if rows.spread is None else rows.spread
        sample = np.concatenate([self._exemplars.vectors, unit_rows(thinned)])
        # A fifth of 256 columns fits the embeddings of real images best; wider ones need no more than 128.
        lead = min(128, max(1, width * 3 // 16))
        self.is_on_disk = 2 * total * (width + 4 * lead) > free_memory()
        return BoundedRows(principal_axes(sample, lead), on_disk=self.is_on_disk)

    def _class_of(self, label: str) -> int:
        if label not in self._index:
            self._index[label] = len(self.labels)
            self.labels.append(label)
        return self._index[label]

    def _reserve(self, rows: int) -> None:
        if rows > len(self._ids):
            room = rows * 5 // 4 + 64
            self._class, self._ids = _longer(self._class, room), _longer(self._ids, room)
            self._weights = _longer(self._weights, room)
            self._lengths, self._leans = _longer(self._lengths, room), _longer(self._leans, room)

    def _take_in(self, places: NDArray[np.int64], vectors: NDArray[np.int8], scales: Floats) -> Floats:
        """Note the lengths of rows and count them in with their classes; return them of unit length."""
        unit, lengths = unit_rows_and_lengths(vectors)
        self._lengths[places] = lengths * scales
        self._leans[places] = unit @ self._shift
        self._count_in(places, unit)
        return unit

    def _count_in(self, places: NDArray[np.int64], unit: Floats) -> None:
        """Add the rows at these places to the means of their classes."""
        classes, weights = self._class[places], self._weights[places]
        self._means.add(classes, unit, weights)
        moved = unit_rows(unit * self._lengths[places][:, None] + self._shift)
        self._shifted_means.add(classes, moved, weights)

    def _point(self, classes: NDArray[np.int64]) -> None:
        self._means.point(classes)
        self._shifted_means.point(classes)


class _Shifted:
    """A bank's rows as known-ness compares them, for what the bank holds: it must not hold the bank.

    In a circle of references all rows would stay in memory until Python looks for circles.
    """

    def __init__(self, bank: Bank) -> None:
        self._bank = weakref.ref(bank)

    def take(self, rows: NDArray[np.int64]) -> Floats:
        """Return rows as float32 [n, D]."""
        bank = self._bank()
        assert bank is not None  # what asks is the bank's own
        return bank.shifted(rows)


def _unit(embedding: Floats) -> Floats:
    length = math.sqrt(float(np.dot(embedding, embedding)))
    return embedding / np.float32(length) if length else embedding


def _longer(numbers: NDArray[Any], room: int) -> NDArray[Any]:
    out = np.zeros(room, numbers.dtype)
    out[: len(numbers)] = numbers
    return out


def _too_many(rows: int, width: int) -> bool:
    """Return whether float32 rows would be slower, or take more than a quarter of the memory that is free."""
    return rows > MANY or (rows > _PORTION and 4 * rows * width * 4 > free_memory())


def free_memory() -> float:
    """Return the bytes that can be had without swapping, or infinity where the system does not tell."""
    try:
        lines = _MEMINFO.read_text("ascii").splitlines()
        return next(float(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError, IndexError, StopIteration):
        return float("inf")
