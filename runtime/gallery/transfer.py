"""Whole examples on their way from one gallery to another, and files made of them."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from tlc_edge.runtime import files
from tlc_edge.runtime.errors import GalleryError, UsageError
from tlc_edge.runtime.labels import clean_label

from . import rows, schema
from .compact import drop_history
from .conflicts import CONFLICTS
from .file import bound_steps, has_log
from .gallery import Gallery
from .limits import Limits, make_room, write_limits
from .merging import Row, add_picture, holder, images_of, insert_row, merged, read_row, remove
from .packed import is_sound, storable
from .records import Change

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
    """Of the image, as it was enrolled."""
    sha256: str
    held: tuple[str, ...]
    """The labels it had."""
    incoming: str
    """The label under which it came."""


@dataclass
class Intake:
    """What taking in examples did."""

    change: Change
    """`skipped` counts the duplicates: the same image under the same label."""
    conflicts: list[Conflict] = field(default_factory=list[Conflict])


def stored(gallery: Gallery, after: int = 0, count: int = -1) -> Iterator[StoredExample]:
    """Yield the live examples with an id above `after`, at most `count`, in the order of enrolment.

    Raises:
        GalleryError: one is damaged.
    """
    with gallery.reading() as db:
        stands_for = "stands_for" if rows.has_counts(db) else "1"
        knows_merged = schema.version_of(db) >= schema.MERGED
        found = db.execute(
            f"SELECT e.id, label, vector, scale, source_sha256, source_name, at, {stands_for}, jpeg, e.crc, t.crc "
            "FROM examples AS e LEFT JOIN thumbnails AS t ON t.example = e.id "
            "WHERE removed_by IS NULL AND e.id > ? ORDER BY e.id LIMIT ?",
            (after, count),
        )
        for *values, crc, picture_crc in found:
            if values[0] <= after:
                raise sqlite3.DatabaseError(f"example {values[0]} is there more than once")
            after = values[0]
            if not is_sound(values, gallery.width, crc, picture_crc):
                raise sqlite3.DatabaseError(f"example {values[0]} is not as it was written")
            rows.named(values[1])
            images = images_of(db, after) if knows_merged and values[7] > 1 else ()
            yield StoredExample._make((*values, images))


def take_in(
    gallery: Gallery, incoming: Iterable[StoredExample], kind: str, label: str, conflicts: str = "first"
) -> Intake:
    """Add examples of another gallery of the same model as one operation `kind`, `label` being what it is about.

    An image that its class holds already is left out; a merged row where all that it is made of is held. One of which
    a part is held joins the row that shows its image, or else counts for less. An image that the gallery held before
    under another label is a conflict: with `first` the label it had stands, with `last` the incoming one, and `both`
    keeps both. An image that comes under several labels is in no conflict with itself. No clock decides: those of two
    devices cannot be compared.

    Raises:
        UsageError: `conflicts` is none of these.
        GalleryError: the file cannot be written, and is unchanged.
    """
    check_rule(conflicts)
    with gallery.writing() as db:
        intake = Receiver(db, lambda: gallery.operation(kind, label)[0], conflicts)
        intake.take_all(incoming, gallery.path)
        gone = make_room(db, rows.counts(db), intake.operation) if intake.operation else {}
        if intake.removed:
            rows.count_rewrite(db)
        change = Change(
            kind, label, intake.added, intake.removed, intake.skipped, rows.counts(db), gone=sum(gone.values())
        )
    return Intake(change, intake.conflicts)


def check_rule(conflicts: str) -> None:
    """Raise UsageError where it is no rule for conflicts."""
    if conflicts not in CONFLICTS:
        raise UsageError(f"the rule for conflicts is {conflicts!r}, expected one of {', '.join(CONFLICTS)}")


class Receiver:
    """Takes in examples one by one, inside a transaction, as one operation that begins with the first that is new."""

    def __init__(self, db: sqlite3.Connection, begin: Callable[[], int], conflicts: str) -> None:
        """`begin` gives the operation's number."""
        self._db = db
        self._begin = begin
        self._rule = conflicts
        self._came: dict[str, set[str]] = {}
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
        held = self._held(example.sha256)
        came = self._came.setdefault(example.sha256, set())
        known = example.label in came or self._knows(example)
        came.add(example.label)
        if known:
            self.skipped += 1
            return
        if held and example.label not in held:
            self.conflicts.append(Conflict(example.name, example.sha256, tuple(held), example.label))
            if self._rule == "first":
                return
        self.operation = self.operation or self._begin()
        if self._rule == "last":
            for other in set(held) - came:
                self._replace(example.sha256, other)
        self._insert(example)
        self.added += 1

    def _held(self, sha256: str) -> list[str]:
        """Return the labels under which an image was shown before the operation."""
        found = self._db.execute(
            "SELECT label FROM examples WHERE source_sha256 = ? AND removed_by IS NULL AND added_by <> ? ORDER BY id",
            (sha256, self.operation),
        )
        return [str(label) for (label,) in found]

    def _knows(self, example: StoredExample) -> bool:
        """Return whether its class holds all images that it is known to be made of."""
        return all(holder(self._db, example.label, i.hex()) is not None for i in example.row.own_images())

    def _replace(self, sha256: str, label: str) -> None:
        self.removed += self._db.execute(
            "UPDATE examples SET removed_by = ? WHERE source_sha256 = ? AND label = ? AND removed_by IS NULL",
            (self.operation, sha256, label),
        ).rowcount

    def _insert(self, example: StoredExample) -> None:
        row, picture = example.row, example.thumbnail
        there = self._db.execute(
            "SELECT id FROM examples WHERE label = ? AND source_sha256 = ? AND removed_by IS NULL",
            (example.label, example.sha256),
        ).fetchone()
        if there is not None:
            mine = read_row(self._db, there[0])
            remove(self._db, [there[0]], self.operation)
            shared = mine.own_images() & row.own_images()
            # What is here came to be the other by further examples: then that is all of it.
            grown = shared == mine.own_images() and row.stands_for >= mine.stands_for
            row = row if grown else merged([mine, row], len(shared))
        else:
            held = {i for i in row.own_images() if holder(self._db, example.label, i.hex()) is not None}
            row = replace(row, stands_for=max(1, row.stands_for - len(held)), images=_without(row.images, held))
        number = insert_row(self._db, example.label, row, self.operation)
        if picture is not None:
            add_picture(self._db, number, picture)


def _without(images: tuple[bytes, ...], held: set[bytes]) -> tuple[bytes, ...]:
    return tuple(image for image in images if image not in held)


@contextlib.contextmanager
def new_file(path: Path, fingerprint: str, width: int) -> Generator[Gallery, None, None]:
    """Make a gallery that appears under `path` whole, without undo history and as one file, or not at all.

    Raises:
        GalleryError: there is such a file already, or it cannot be written.
    """
    if path.exists():
        raise GalleryError(f"{path}: exists already; choose another name or move it away")
    part = path.with_name(f"{path.name}.part")
    delete(part)  # what a killed attempt left
    try:
        # No link that appears now is followed.
        os.close(os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        raise GalleryError(f"{part}: appeared while {path.name} is made; stop what makes it and try again") from None
    except OSError:
        pass  # opening it says why
    try:
        with Gallery.open(part, fingerprint, width, create=True) as gallery:
            with gallery.writing() as db:
                write_limits(db, Limits(0, 0))
            yield gallery
            finish(gallery, None)
        put_in_place(part, path)
    except BaseException:
        delete(part)
        raise


def finish(gallery: Gallery, limits: Limits | None) -> None:
    """Leave a gallery that was filled without undo history, with its limits (None: the usual ones)."""
    drop_history(gallery)
    with gallery.writing() as db:
        if limits is None:
            db.execute("DELETE FROM meta WHERE key IN ('per_class', 'total')")
        else:
            write_limits(db, limits)


def put_in_place(part: Path, path: Path) -> None:
    """Give a closed gallery its final name, for good.

    Raises:
        GalleryError: someone else has it open, or the disk refuses.
    """
    if has_log(part):
        raise GalleryError(f"{part}: in use by another process; stop it and try again")
    try:
        files.put_in_place(part, path)
    except OSError as e:
        raise GalleryError(f"{path}: cannot be written ({e.strerror or e})") from None
    for suffix in ("-wal", "-shm"):
        part.with_name(part.name + suffix).unlink(missing_ok=True)


def delete(path: Path) -> None:
    """Delete a gallery with what SQLite keeps beside it."""
    for suffix in ("", "-wal", "-shm", "-journal"):
        beside = path.with_name(path.name + suffix)
        if not os.path.lexists(beside):  # asked first: a read-only disk refuses to remove even what is not there
            continue
        try:
            beside.unlink(missing_ok=True)  # a link goes, not what it leads to
        except OSError as e:
            raise GalleryError(f"{beside}: cannot be removed ({e.strerror or e})") from None


def export(gallery: Gallery, path: Path, labels: Sequence[str] = ()) -> dict[str, int]:
    """Write the examples, of all classes or of `labels`, to one new file; return how many of each class.

    The file is itself a gallery: without undo history, and safe to copy as it is.

    Raises:
        UsageError: there is no such class.
        GalleryError: the file exists, or cannot be written.
    """
    wanted = [clean_label(label) for label in labels]
    with gallery.reading() as db:
        for label in wanted:
            rows.require(db, label)
    chosen = (e for e in stored(gallery) if not wanted or e.label in wanted)
    with new_file(path, gallery.fingerprint, gallery.width) as new:
        return dict(take_in(new, chosen, "export", "", "both").change.classes)
