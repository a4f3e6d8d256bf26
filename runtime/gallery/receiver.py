"""Taking in examples of another gallery: what is known is left out, and what is in conflict is settled by a rule."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from .file import bound_steps
from .merging import Row, add_picture, copy_picture, holder, insert_row, merged, read_row, remove, without
from .packed import storable

_PORTION = 1_000  # examples


class StoredExample(NamedTuple):
    """An example with all that is kept of it; the vector as its int8 bytes."""

    id: int
    label: str
    vector: bytes
    scale: float
    sha256: str
    name: str
    at: str
    stands_for: int
    thumbnail: bytes | None
    images: tuple[bytes, ...] = ()
    """Hashes of the other images that it is the mean of."""

    @property
    def row(self) -> Row:
        """The same, ready to insert."""
        name = storable(self.name)
        return Row(self.vector, self.scale, self.sha256, name, self.at, self.stands_for, self.images)


@dataclass(frozen=True)
class Conflict:
    """One image under two labels."""

    name: str
    """Of the image, as it was enrolled; of one that is only part of a merged row, the name that this goes by."""
    sha256: str
    held: tuple[str, ...]
    """The labels it had."""
    incoming: str
    """The label under which it came."""


class Receiver:
    """Takes in examples one by one, inside a transaction, as one operation that begins with the first that is new."""

    def __init__(self, db: sqlite3.Connection, begin: Callable[[], int], conflicts: str) -> None:
        """`begin` gives the operation's number."""
        self._db = db
        self._begin = begin
        self._rule = conflicts
        self._came: dict[str, set[str]] = {}
        self._left_over: set[int] = set()  # rows that the operation made of what was there, and brought nothing to
        self.operation = 0
        self.conflicts: list[Conflict] = []
        self.added = self.skipped = self.removed = 0

    def take_all(self, incoming: Iterable[StoredExample], path: Path) -> None:
        """Take examples in, into the gallery at `path`, one after the other."""
        for number, example in enumerate(incoming):
            if number % _PORTION == 0:
                bound_steps(self._db, path)  # the work is as much as came in, not as was there
            self.take(example)

    def take(self, example: StoredExample) -> None:
        """Take one in, or leave it out, by the rules of `take_in`."""
        row: Row | None = example.row
        assert row is not None
        came = self._came.setdefault(example.sha256, set())
        known = example.label in came or self._knows(example.label, row)
        came.add(example.label)
        if known:
            self.skipped += 1
            return
        clashes = self._clashes(example.label, row)
        for image, held in clashes.items():
            self.conflicts.append(Conflict(example.name, image.hex(), held, example.label))
        if clashes and self._rule == "first":
            row = without(row, clashes)
            if row is None:
                return
            if self._knows(example.label, row):  # the rest of it
                self.skipped += 1
                return
        self.operation = self.operation or self._begin()
        if self._rule == "last":
            for image, held in clashes.items():
                for other in set(held) - self._came.get(image.hex(), set()):
                    self._take_out(image, other)
        self._insert(example.label, row, example.thumbnail if row.sha256 == example.sha256 else None)
        self.added += 1

    def _clashes(self, label: str, row: Row) -> dict[bytes, tuple[str, ...]]:
        """Return which of its images were there before the operation under other labels only, with these labels."""
        found: dict[bytes, tuple[str, ...]] = {}
        for image in (bytes.fromhex(row.sha256), *row.images):
            held = self._held(image)
            if held and label not in held:
                found[image] = tuple(held)
        return found

    def _held(self, image: bytes) -> list[str]:
        """Return the labels that an image had before the operation, alone or as part of a merged row."""
        found = self._db.execute(
            "SELECT id, label, added_by FROM examples WHERE source_sha256 = ? AND removed_by IS NULL UNION "
            "SELECT id, label, added_by FROM merged JOIN examples ON id = example "
            "WHERE sha256 = ? AND removed_by IS NULL ORDER BY id",
            (image.hex(), image),
        )
        before = [str(label) for i, label, by in found if by != self.operation or i in self._left_over]
        return list(dict.fromkeys(before))

    def _knows(self, label: str, row: Row) -> bool:
        """Return whether a class holds all images that a row is known to be made of."""
        return all(holder(self._db, label, i.hex()) is not None for i in row.own_images())

    def _take_out(self, image: bytes, label: str) -> None:
        """Let a class hold an image no more; of a merged row all but the image stays."""
        while (there := holder(self._db, label, image.hex())) is not None:
            row = read_row(self._db, there)
            remove(self._db, [there], self.operation)
            rest = without(row, [image])
            if rest is not None:
                number = insert_row(self._db, label, rest, self.operation)
                self._left_over.add(number)
                if rest.sha256 == row.sha256:
                    copy_picture(self._db, there, number)
        self.removed += 1

    def _insert(self, label: str, row: Row, picture: bytes | None) -> None:
        there = self._db.execute(
            "SELECT id FROM examples WHERE label = ? AND source_sha256 = ? AND removed_by IS NULL",
            (label, row.sha256),
        ).fetchone()
        if there is not None:
            mine = read_row(self._db, there[0])
            remove(self._db, [there[0]], self.operation)
            shared = mine.own_images() & row.own_images()
            # What is here came to be the other by further examples: then that is all of it.
            grown = shared == mine.own_images() and row.stands_for >= mine.stands_for
            row = row if grown else merged([mine, row], len(shared))
        else:
            held = [i for i in row.images if holder(self._db, label, i.hex()) is not None]
            if holder(self._db, label, row.sha256) is not None:
                held.append(bytes.fromhex(row.sha256))
            rest = max(1, row.stands_for - len(held))
            row = replace(row, stands_for=rest, images=tuple(i for i in row.images if i not in held))
        number = insert_row(self._db, label, row, self.operation)
        if picture is not None:
            add_picture(self._db, number, picture)
