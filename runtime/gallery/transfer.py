"""Whole examples on their way from one gallery to another, and files made of them."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tlc_edge.runtime import files
from tlc_edge.runtime.errors import GalleryError, UsageError
from tlc_edge.runtime.labels import clean_label

from . import rows, schema
from .compact import drop_history
from .conflicts import CONFLICTS
from .file import has_log
from .gallery import Gallery
from .limits import Limits, make_room, write_limits
from .merging import images_of
from .packed import is_sound
from .receiver import Conflict, Receiver, StoredExample
from .records import Change


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
    keeps both. A merged row that loses an image so keeps its others, and counts for one less. An image that comes
    under several labels is in no conflict with itself. No clock decides: those of two devices cannot be compared.

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


@contextlib.contextmanager
def new_file(path: Path, fingerprint: str, width: int, limits: Limits | None = None) -> Generator[Gallery, None, None]:
    """Make a gallery that appears under `path` whole, without undo history and as one file, or not at all.

    It has no limits while it is filled, and `limits` (None: the usual ones) from then on.

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
            finish(gallery, limits)
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
