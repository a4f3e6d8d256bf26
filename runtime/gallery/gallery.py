"""The gallery: the examples enrolled on a device, in one SQLite file that a power cut cannot hurt.

Every change is one transaction, on disk when the call returns. Nothing is deleted at once: an example
is marked with the operation that removed it, so that undoing an operation, of whatever kind, is to
take back its marks and names. Examples that were removed more than KEEP_OPERATIONS operations ago
can no longer come back and are deleted at the next change.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlc_edge.runtime.errors import FingerprintError, GalleryError, UsageError
from tlc_edge.runtime.forks import Forks
from tlc_edge.runtime.labels import clean_label

from . import rows, schema
from .file import SQLITE_ERRORS, Opened, bound_steps, connect, empty_log, roll_back, stamp, translated, use_log
from .limits import Limits, make_room, read_limits, write_limits
from .packed import Packed, pack
from .records import KEEP_OPERATIONS, START, WIDEST, Change, Cursor, Example, ExampleSource, GalleryRows

_TRIES = 20


class Gallery:
    """An open gallery. One object may be used from several threads; several processes may open one file.

    A fork waits for a transaction to end; the child has connections of its own.
    """

    def __init__(self, path: Path, opened: Opened, read_only: bool, clock: Callable[[], float]):
        self.path = path
        self.read_only = read_only
        self._db, self._immutable, self._shared = opened
        self._clock = clock
        self._lock = threading.RLock()
        self._changes = 0
        self._counted: tuple[tuple[int, int], dict[str, int]] | None = None
        self._stamp = stamp(path)
        meta = dict(self._db.execute("SELECT key, value FROM meta"))
        try:
            self.fingerprint = str(meta["fingerprint"])
            self.width = int(meta["width"])
            if not 1 <= self.width <= WIDEST:
                raise ValueError(self.width)
        except (KeyError, ValueError):
            raise sqlite3.DatabaseError("no fingerprint or width in it") from None
        self._closed = False
        _living.add(self)

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        fingerprint: str,
        width: int,
        *,
        create: bool = False,
        read_only: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> Gallery:
        """Open the gallery of the embeddings `fingerprint` [width]; with `create`, make it if there is none.

        Raises:
            FingerprintError: it holds embeddings of another model.
            GalleryError: there is no such file, or it is no gallery, damaged, too new, or cannot be written.
        """
        meta = {"fingerprint": fingerprint, "width": str(width)}
        gallery = cls._open(Path(path), meta, create, read_only, clock)
        try:
            gallery._expect(fingerprint, width)
        except BaseException:
            gallery.close()
            raise
        return gallery

    @classmethod
    def open_if_exists(
        cls, path: str | os.PathLike[str], fingerprint: str, width: int, *, read_only: bool = True
    ) -> Gallery | None:
        """Open the gallery, or return None where nothing was ever enrolled; never makes a file.

        Raises:
            GalleryError: as `open`.
        """
        where = Path(path)
        return None if _holds_nothing(where) else cls.open(where, fingerprint, width, read_only=read_only)

    @classmethod
    def open_any(cls, path: str | os.PathLike[str], *, read_only: bool = True) -> Gallery:
        """Open an existing gallery whatever model it belongs to: to list, check or migrate it.

        Raises:
            GalleryError: as `open`.
        """
        return cls._open(Path(path), None, False, read_only, time.time)

    @classmethod
    def open_any_if_exists(cls, path: str | os.PathLike[str]) -> Gallery | None:
        """Open a gallery of whatever model to look at it, or return None where nothing was ever enrolled.

        Raises:
            GalleryError: as `open`.
        """
        where = Path(path)
        return None if _holds_nothing(where) else cls.open_any(where)

    @classmethod
    def _open(
        cls,
        path: Path,
        meta: dict[str, str] | None,
        create: bool,
        read_only: bool,
        clock: Callable[[], float],
    ) -> Gallery:
        opened = connect(path, create=create and not read_only, read_only=read_only)
        db = opened.db
        try:
            with translated(path):
                current = schema.is_current(db, path, read_only=read_only)
                if schema.is_unfinished(db) and (read_only or meta is None):
                    raise GalleryError(f"{path}: the gallery is empty; teach a first class with `tlc enroll`")
                if not read_only and not opened.shared:
                    use_log(db)
                if not current and not read_only:  # reading needs nothing that came after the first version
                    schema.upgrade(db, path, {**(meta or {}), "created": _iso(clock()), "rewrites": "0"})
                    empty_log(db)
                return cls(path, opened, read_only, clock)
        except BaseException:
            db.close()
            raise

    def _expect(self, fingerprint: str, width: int) -> None:
        if self.fingerprint != fingerprint:
            raise FingerprintError(
                f"{self.path}: the gallery belongs to the model {self.fingerprint[:12]}, the bundle is "
                f"{fingerprint[:12]}; bring it over with `tlc gallery migrate`"
            )
        if self.width != width:
            raise GalleryError(
                f"{self.path}: the gallery's embeddings have width {self.width}, the bundle's {width}; "
                "choose another with --gallery"
            )

    def close(self) -> None:
        """Close the file; where no one else has it open, everything is then in this one file."""
        with self._lock, contextlib.suppress(*SQLITE_ERRORS):
            if not self.read_only:
                self._db.execute("PRAGMA busy_timeout = 0")  # a reader may keep the log; do not wait for it
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        with self._lock:
            self._closed = True
            self._db.close()

    def __enter__(self) -> Gallery:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Changes

    def add(self, label: str, vectors: NDArray[np.float32], sources: Sequence[ExampleSource]) -> Change:
        """Enroll examples: `vectors` [n, D] with a source each. An image the class already holds is skipped.

        Raises:
            UsageError: the label is empty, too long, or has control characters.
            GalleryError: a vector is not finite or all zero; or the file cannot be written, and is unchanged.
        """
        name = clean_label(label)
        packed = pack(vectors, sources, self.width)
        with self._lock:
            with self.writing() as db:
                classes = self._counts(db)
                fresh: dict[str, Packed] = {}
                gone: dict[str, int] = {}
                operation = 0
                for example in packed:
                    sha256 = example.source.sha256
                    if sha256 not in fresh and not rows.holds(db, name, sha256):
                        fresh[sha256] = example
                if fresh:
                    classes = dict(sorted({**classes, name: classes.get(name, 0) + len(fresh)}.items()))
                    operation, at = self.operation("add", name)
                    for example in fresh.values():
                        rows.insert(db, name, example, at, operation)
                    gone = make_room(db, classes, operation)
                    classes = {c: n - gone.get(c, 0) for c, n in classes.items()}
                version = _version(db)
            self._counted = ((version, self._changes), classes)  # only now that it is on disk
        skipped = len(packed) - len(fresh)
        return Change("add", name, len(fresh), 0, skipped, dict(classes), gone=sum(gone.values()), operation=operation)

    def forget(self, label: str) -> Change:
        """Remove a class with all its examples.

        Raises:
            UsageError: there is no such class.
            GalleryError: the file cannot be written, and is unchanged.
        """
        name = clean_label(label)
        with self.writing() as db:
            rows.require(db, name)
            operation, _ = self.operation("forget", name, rewrites=True)
            removed = db.execute(
                "UPDATE examples SET removed_by = ? WHERE label = ? AND removed_by IS NULL", (operation, name)
            ).rowcount
            return Change("forget", name, 0, removed, 0, rows.counts(db))

    def rename(self, old: str, new: str, *, merge: bool = False) -> Change:
        """Give a class another name; with `merge`, that of another class, less the images it already holds.

        Raises:
            UsageError: there is no class `old`, or `new` cannot be a name.
            GalleryError: `new` exists and `merge` is not set; or the file cannot be written. It is unchanged.
        """
        old, new = clean_label(old), clean_label(new)
        with self.writing() as db:
            rows.require(db, old)
            if old == new:
                raise GalleryError(f"class {old!r} already has this name; give another one")
            there = rows.counts(db).get(new, 0)
            if there and not merge:
                raise GalleryError(
                    f"class {new!r} exists already ({there} example{'s' * (there != 1)}); choose another name, or "
                    "merge the two (`tlc gallery rename --merge`, merge=True)"
                )
            operation, _ = self.operation("rename", new, {"from": old}, rewrites=True)
            moved, dropped = rows.relabel(db, operation, old, new)
            return Change("rename", new, moved, 0, dropped, rows.counts(db))

    def remove(self, examples: Sequence[int]) -> Change:
        """Remove single examples, by their ids.

        Raises:
            UsageError: none is given, or one is not there.
            GalleryError: the file cannot be written, and is unchanged.
        """
        ids = _each_once(examples)
        with self.writing() as db:
            labels = set(rows.labels_of(db, ids))
            label = labels.pop() if len(labels) == 1 else ""
            operation, _ = self.operation("remove", label, rewrites=True)
            db.executemany("UPDATE examples SET removed_by = ? WHERE id = ?", [(operation, i) for i in ids])
            return Change("remove", label, 0, len(ids), 0, rows.counts(db))

    def move(self, examples: Sequence[int], label: str) -> Change:
        """Give single examples, by their ids, to another class, new or known; an image it holds already is removed.

        Raises:
            UsageError: none is given, one is not there, or the label cannot be used.
            GalleryError: all are in that class already; or the file cannot be written, and is unchanged.
        """
        name, ids = clean_label(label), _each_once(examples)
        with self.writing() as db:
            elsewhere = [i for i, held in zip(ids, rows.labels_of(db, ids), strict=True) if held != name]
            if not elsewhere:
                raise GalleryError(f"all of these are in class {name!r} already; give another one")
            operation, _ = self.operation("move", name, rewrites=True)
            moved = sum(rows.relabel_one(db, operation, i, name) for i in elsewhere)
            gone = make_room(db, rows.counts(db), operation)
            return Change("move", name, moved, 0, len(ids) - moved, rows.counts(db), gone=sum(gone.values()))

    def undo(self, only: int | None = None) -> Change:
        """Undo the latest operation that is not yet undone; again and again, it walks back.

        With `only`, the number of an operation, it must be that one.

        All later operations are undone by then, so the examples stand as this one left them, and what
        it marked and named is exactly what has to be taken back.

        Raises:
            GalleryError: nothing is left to undo, or it is another than `only`; or the file cannot be written.
                It is unchanged.
        """
        with self.writing() as db:
            last = rows.last_operation(db)
            if last is None:
                raise GalleryError(f"{self.path}: nothing to undo in the last {KEEP_OPERATIONS} operations")
            operation, kind, name = last
            if only not in (None, operation):
                raise GalleryError(
                    f"{self.path}: something else was changed since; `tlc undo` takes back the latest change first"
                )
            gained, removed = rows.take_back(db, operation)
            return Change("undo", name, gained, removed, 0, rows.counts(db), undone=kind)

    def limit(self, limits: Limits) -> Change:
        """Set how many examples are kept, and let those above give way at once.

        Raises:
            UsageError: a limit is negative.
            GalleryError: the file cannot be written, and is unchanged.
        """
        if limits.per_class < 0 or limits.total < 0:
            raise UsageError(f"a limit is {min(limits.per_class, limits.total)}, expected 0 (none) or more")
        with self.writing() as db:
            before, classes = read_limits(db), rows.counts(db)
            gone: dict[str, int] = {}
            if limits != before or limits.excess(classes):
                detail = {"limits": [before.per_class, before.total]}  # undoing it, they would give way again otherwise
                operation, _ = self.operation("limit", "", detail, rewrites=True)
                write_limits(db, limits)
                gone = make_room(db, classes, operation)
            return Change("limit", "", 0, 0, 0, rows.counts(db), gone=sum(gone.values()))

    # Reading

    def limits(self) -> Limits:
        """Return how many examples are kept, per class and in all."""
        with self.reading() as db:
            return read_limits(db)

    def classes(self) -> dict[str, int]:
        """Return how many examples each class has, sorted by name."""
        with self.reading() as db:
            return dict(self._counts(db))

    def examples(self, label: str | None = None) -> list[Example]:
        """Return the examples of one class, or of all, in the order of enrolment.

        Raises:
            UsageError: there is no such class.
        """
        name = None if label is None else clean_label(label)
        with self.reading() as db:
            if name is not None:
                rows.require(db, name)
            found = db.execute(
                "SELECT id, label, source_name, source_sha256, at, "
                "EXISTS (SELECT 1 FROM thumbnails WHERE example = id) FROM examples "
                f"WHERE removed_by IS NULL {'' if name is None else 'AND label = ?'} ORDER BY id",
                () if name is None else (name,),
            )
            return [Example(i, rows.named(lab), source, sha, at, bool(has)) for i, lab, source, sha, at, has in found]

    def examples_of(self, ids: Sequence[int]) -> dict[int, tuple[Example, bytes | None]]:
        """Return those of some examples that are there, with their JPEGs; None for one that was enrolled without."""
        found: dict[int, tuple[Example, bytes | None]] = {}
        with self.reading() as db:
            for number in ids:
                row = db.execute(
                    "SELECT id, label, source_name, source_sha256, at, jpeg FROM examples LEFT JOIN thumbnails "
                    "ON example = id WHERE id = ? AND removed_by IS NULL",
                    (number,),
                ).fetchone()
                if row is not None:
                    found[number] = Example(row[0], row[1], row[2], row[3], row[4], row[5] is not None), row[5]
        return found

    def labels_of(self, sha256: Sequence[str]) -> list[tuple[str, ...]]:
        """Return for each image the labels under which it is enrolled."""
        with self.reading() as db:
            labels = list(self._counts(db))
            return [tuple(label for label in labels if rows.holds(db, label, image)) for image in sha256]

    def thumbnail(self, example: int) -> bytes | None:
        """Return an example's JPEG, or None where it was enrolled without.

        Raises:
            GalleryError: there is no such example.
        """
        with self.reading() as db:
            row = db.execute(
                "SELECT jpeg FROM examples LEFT JOIN thumbnails ON example = id WHERE id = ? AND removed_by IS NULL",
                (int(example),),
            ).fetchone()
        if row is None:
            raise GalleryError(f"{self.path}: no example {example}; see `tlc gallery list`")
        return None if row[0] is None else bytes(row[0])

    def load(self) -> GalleryRows:
        """Return all examples for search.

        Raises:
            GalleryError: the file is damaged.
        """
        return self.rows_since(START)

    def rows_since(self, cursor: Cursor) -> GalleryRows:
        """Return for search the examples that came after a reader was at `cursor`, and which others went since.

        Raises:
            GalleryError: the file is damaged.
        """
        try:
            with self.reading() as db:
                return rows.read_rows(db, self.width, cursor)
        except (TypeError, ValueError) as e:
            raise GalleryError(f"{self.path}: the gallery is damaged ({e}); see `tlc gallery check`") from None

    @property
    def file(self) -> tuple[int, ...]:
        """Which file it is, whatever is in it: its device and its number there."""
        return self._stamp[:2]

    def was_replaced(self) -> bool:
        """Return whether another file has taken this one's place; cheap enough to ask each frame."""
        try:
            now = os.stat(self.path)  # noqa: PTH116 - half of pathlib's time
        except OSError:
            return False
        return (now.st_dev, now.st_ino) != self.file

    def data_version(self) -> tuple[int, int]:
        """Return a value that differs after every change, whoever made it; cheap enough to ask each frame."""
        with self._lock, translated(self.path):
            self._look_again()
            return _version(self._db), self._changes

    def check(self) -> list[str]:
        """Examine every page and every example; return what is wrong, one sentence each, or nothing."""
        with self._lock:
            found: list[str] = []
            bound_steps(self._db, self.path)
            try:
                lines = [str(row[0]) for row in self._db.execute("PRAGMA integrity_check")]
                found += [f"SQLite: {line}" for line in lines if line != "ok"]
                links = list(self._db.execute("PRAGMA foreign_key_check"))
                found += [f"{table} row {row} points at a {other} that is not there" for table, row, other, _ in links]
                found += [
                    f"a trigger {row[0]!r} is there, which no gallery has"
                    for row in self._db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
                ]
                found += rows.bad_rows(self._db, self.width)
            except SQLITE_ERRORS as e:
                found.append(f"SQLite: {e}")
            except (TypeError, ValueError, LookupError, OverflowError) as e:
                found.append(f"a row cannot be read: {e}")
            return found

    # Transactions

    @contextlib.contextmanager
    def writing(self) -> Generator[sqlite3.Connection, None, None]:
        """Run a block as one transaction: all of it is on disk when the block is left, or nothing.

        Raises:
            GalleryError: the file cannot be written, and is unchanged.
        """
        with self.idle():
            self._begin()
            before = self._db.total_changes
            try:
                rows.purge(self._db)
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                roll_back(self._db)
                raise
            if self._db.total_changes != before:
                self._changes += 1
                empty_log(self._db)

    @contextlib.contextmanager
    def idle(self) -> Generator[sqlite3.Connection, None, None]:
        """Run a block outside any transaction, for the statements that must be.

        Raises:
            GalleryError: the file is open for reading only, or was replaced.
        """
        if self.read_only:
            raise GalleryError(f"{self.path}: opened for reading only; open it for writing to change it")
        with self._lock, translated(self.path):
            if stamp(self.path)[:2] != self.file:
                # SQLite would go on writing to a file that no one will ever find.
                raise GalleryError(f"{self.path}: was moved or replaced while in use; open it again")
            bound_steps(self._db, self.path)
            yield self._db

    @contextlib.contextmanager
    def reading(self) -> Generator[sqlite3.Connection, None, None]:
        """Run a block on one state of the file, whatever others write meanwhile.

        Raises:
            GalleryError: the file cannot be read.
        """
        with self._lock, translated(self.path):
            self._look_again()
            bound_steps(self._db, self.path)
            try:
                self._db.execute("BEGIN")
                yield self._db
            finally:
                roll_back(self._db)

    def _counts(self, db: sqlite3.Connection) -> dict[str, int]:
        # Kept while nothing changed: counting 100,000 rows anew would cost more than adding one.
        now = (_version(db), self._changes)
        if self._counted is None or self._counted[0] != now:
            self._counted = (now, rows.counts(db))
        return self._counted[1]

    def operation(
        self, kind: str, label: str, detail: Mapping[str, Any] | None = None, rewrites: bool = False
    ) -> tuple[int, str]:
        """Begin an operation inside `writing`; return its id, and the time."""
        at = _iso(self._clock())
        cursor = self._db.execute(
            "INSERT INTO operations (kind, label, detail, at) VALUES (?, ?, ?, ?)",
            (kind, label, json.dumps(detail or {}, ensure_ascii=False), at),
        )
        if rewrites:
            rows.count_rewrite(self._db)
        return int(cursor.lastrowid or 0), at

    def _begin(self) -> None:
        """Begin to write, on what is in the file now."""
        if not self._shared:
            self._db.execute("BEGIN IMMEDIATE")
            return
        for _ in range(_TRIES):
            self._reconnect()
            self._db.execute("BEGIN IMMEDIATE")
            # Nobody else writes from here on. A file that is opened now is read anew; what was read just before may be
            # what this machine had in memory, and another has written since.
            with contextlib.closing(connect(self.path, create=False, read_only=True).db) as fresh:
                if _state(fresh) == _state(self._db):
                    return
            roll_back(self._db)
        raise sqlite3.OperationalError(f"other devices change it all the time; {_TRIES} attempts failed")

    def _look_again(self) -> None:
        """Open the file anew where the connection would not see by itself what others wrote."""
        if (self._immutable or self._shared) and self._stamp != stamp(self.path):
            self._reconnect()

    def _reconnect(self) -> None:
        now = stamp(self.path)
        if self._shared and now[:2] != self.file:
            raise GalleryError(f"{self.path}: was moved or replaced while in use; open it again")
        opened = connect(self.path, create=False, read_only=self.read_only)
        self._db.close()
        self._db, self._immutable, self._shared = opened
        self._stamp = now
        self._changes += 1

    def hold(self) -> None:
        """Let no transaction begin, before a fork."""
        self._lock.acquire()

    def release(self) -> None:
        """Go on."""
        self._lock.release()

    def leave(self) -> None:
        """Let go of the parent's connection, in the child of a fork; nothing is open on it."""
        self._db.close()

    def open_again(self) -> None:
        """Take a connection of one's own in its place; where the file cannot be opened, the gallery is closed."""
        with contextlib.suppress(GalleryError):
            if not self._closed and stamp(self.path)[:2] == self.file:
                self._db, self._immutable, self._shared = connect(self.path, create=False, read_only=self.read_only)
                self._changes += 1


def _renew(galleries: list[Gallery]) -> None:
    # First all of them: SQLite shares the locks of a file between connections, and believes that it holds the parent's.
    for gallery in galleries:
        gallery.leave()
    for gallery in galleries:
        gallery.open_again()


_living: Forks[Gallery] = Forks(Gallery.hold, Gallery.release, _renew)


def _version(db: sqlite3.Connection) -> int:
    """Return a number that differs after every commit of another connection."""
    return int(db.execute("PRAGMA data_version").fetchone()[0])


def _each_once(examples: Sequence[int]) -> list[int]:
    if not examples:
        raise UsageError("no examples given; `tlc gallery list BUNDLE LABEL` shows their numbers")
    return list(dict.fromkeys(examples))


def _state(db: sqlite3.Connection) -> tuple[int, ...]:
    """Return numbers of which one differs after every change, whoever made it."""
    latest = db.execute("SELECT coalesce(max(id), 0) FROM operations").fetchone()[0]
    rewrites = db.execute("SELECT value FROM meta WHERE key = 'rewrites'").fetchone()[0]
    return int(latest), int(rewrites)


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _holds_nothing(path: Path) -> bool:
    """Return whether nothing was ever enrolled: no file, or one whose creation did not get to its end."""
    if not path.exists() or stamp(path)[2:] == (0, stamp(path)[3], 0):
        return True  # no need to open what has no bytes, here or in a log: that may be just what failed
    db = connect(path, create=False, read_only=True).db
    with contextlib.closing(db), translated(path):
        return schema.is_unfinished(db)
