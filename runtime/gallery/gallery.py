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
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlc_edge.runtime.errors import FingerprintError, GalleryError, UsageError
from tlc_edge.runtime.labels import clean_label

from . import changes, queries, rows, schema
from .file import SQLITE_ERRORS, bound_steps, connect, empty_log, stamp, translated, use_log
from .limits import Limits, read_limits
from .packed import pack
from .records import START, Change, Cursor, Example, ExampleSource, GalleryRows
from .session import Session, opening


class Gallery:
    """An open gallery. One object may be used from several threads; several processes may open one file.

    A fork waits for a transaction to end; the child has connections of its own.
    """

    def __init__(self, session: Session, clock: Callable[[], float]):
        self.path = session.path
        self.read_only = session.read_only
        self.fingerprint = session.fingerprint
        self.width = session.width
        self.writing, self.reading, self.idle = session.writing, session.reading, session.idle
        """Transactions on the file; see `Session`."""
        self._session = session
        self._clock = clock

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
            gallery.expect(fingerprint, width)
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
        with opening():
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
                    return cls(Session(path, opened, read_only), clock)
            except BaseException:
                db.close()
                raise

    def expect(self, fingerprint: str, width: int) -> None:
        """Raise where it is not a gallery of these embeddings.

        Raises:
            FingerprintError: it is of another model.
            GalleryError: its embeddings have another width.
        """
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
        self._session.close()

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
        with self._session.lock:
            with self.writing() as db:
                change, classes = changes.add(db, self.operation, name, packed, self._session.counts())
                version = self._session.version()
            self._session.remember(version, classes)
        return change

    def forget(self, label: str) -> Change:
        """Remove a class with all its examples.

        Raises:
            UsageError: there is no such class.
            GalleryError: the file cannot be written, and is unchanged.
        """
        name = clean_label(label)
        with self.writing() as db:
            return changes.forget(db, self.operation, name)

    def rename(self, old: str, new: str, *, merge: bool = False) -> Change:
        """Give a class another name; with `merge`, that of another class, less the images it already holds.

        Raises:
            UsageError: there is no class `old`, or `new` cannot be a name.
            GalleryError: `new` exists and `merge` is not set; or the file cannot be written. It is unchanged.
        """
        old, new = clean_label(old), clean_label(new)
        with self.writing() as db:
            return changes.rename(db, self.operation, old, new, merge)

    def remove(self, examples: Sequence[int]) -> Change:
        """Remove single examples, by their ids.

        Raises:
            UsageError: none is given, or one is not there.
            GalleryError: the file cannot be written, and is unchanged.
        """
        ids = changes.each_once(examples)
        with self.writing() as db:
            return changes.remove_examples(db, self.operation, ids)

    def move(self, examples: Sequence[int], label: str) -> Change:
        """Give single examples, by their ids, to another class, new or known; an image it holds already is removed.

        Raises:
            UsageError: none is given, one is not there, or the label cannot be used.
            GalleryError: all are in that class already; or the file cannot be written, and is unchanged.
        """
        name, ids = clean_label(label), changes.each_once(examples)
        with self.writing() as db:
            return changes.move(db, self.operation, ids, name)

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
            return changes.undo(db, self.path, only)

    def limit(self, limits: Limits) -> Change:
        """Set how many rows are kept, and merge examples at once where there are more.

        Raises:
            UsageError: a limit is negative.
            GalleryError: the file cannot be written, and is unchanged.
        """
        if limits.per_class < 0 or limits.total < 0:
            raise UsageError(f"a limit is {min(limits.per_class, limits.total)}, expected 0 (none) or more")
        with self.writing() as db:
            return changes.limit(db, self.operation, limits)

    # Reading

    def limits(self) -> Limits:
        """Return how many examples are kept, per class and in all."""
        with self.reading() as db:
            return read_limits(db)

    def classes(self) -> dict[str, int]:
        """Return how many examples each class has, sorted by name."""
        with self.reading():
            return dict(self._session.counts())

    def taught(self) -> dict[str, int]:
        """Return how many examples each class was taught, by name: merged rows count for all that they are of."""
        with self.reading() as db:
            return queries.taught(db)

    def examples(self, label: str | None = None) -> list[Example]:
        """Return the examples of one class, or of all, in the order of enrolment.

        Raises:
            UsageError: there is no such class.
        """
        name = None if label is None else clean_label(label)
        with self.reading() as db:
            return queries.examples(db, name)

    def examples_of(self, ids: Sequence[int]) -> dict[int, tuple[Example, bytes | None]]:
        """Return those of some examples that are there, with their JPEGs; None for one that was enrolled without."""
        with self.reading() as db:
            return queries.examples_of(db, ids)

    def labels_of(self, sha256: Sequence[str]) -> list[tuple[str, ...]]:
        """Return for each image the labels under which it is enrolled."""
        with self.reading() as db:
            return list(queries.labels_of(db, sha256))

    def thumbnail(self, example: int) -> bytes | None:
        """Return an example's JPEG, or None where it was enrolled without.

        Raises:
            GalleryError: there is no such example.
        """
        with self.reading() as db:
            row = queries.thumbnail(db, int(example))
        if row is None:
            raise GalleryError(f"{self.path}: no example {example}; see `tlc gallery list`")
        return row[0]

    def load(self) -> GalleryRows:
        """Return all examples for search.

        Raises:
            GalleryError: the file is damaged.
        """
        return self.rows_since(START)

    def rows_since(self, cursor: Cursor, most: int | None = None) -> GalleryRows:
        """Return for search the examples that came after a reader was at `cursor`, and which others went since.

        With `most`, no more than so many at once; `left` says whether there are more.

        Raises:
            GalleryError: the file is damaged.
        """
        try:
            with self.reading() as db:
                return rows.read_rows(db, self.width, cursor, most)
        except (TypeError, ValueError) as e:
            raise GalleryError(f"{self.path}: the gallery is damaged ({e}); see `tlc gallery check`") from None

    @property
    def file(self) -> tuple[int, ...]:
        """Which file it is, whatever is in it: its device and its number there."""
        return self._session.file

    def was_replaced(self) -> bool:
        """Return whether another file has taken this one's place; cheap enough to ask each frame."""
        return self._session.was_replaced()

    def was_removed(self) -> bool:
        """Return whether there is no such file any more, in a folder that is still there, on the same disk."""
        return self._session.was_removed()

    def data_version(self) -> tuple[int, int]:
        """Return a value that differs after every change, whoever made it; cheap enough to ask each frame."""
        return self._session.data_version()

    def check(self) -> list[str]:
        """Examine every page and every example; return what is wrong, one sentence each, or nothing."""
        found: list[str] = []
        with self._session.lock:
            db = self._session.db
            bound_steps(db, self.path)
            try:
                for problem in queries.problems(db, self.width):
                    found.append(problem)
            except SQLITE_ERRORS as e:
                found.append(f"SQLite: {e}")
            except (TypeError, ValueError, LookupError, OverflowError) as e:
                found.append(f"a row cannot be read: {e}")
        return found

    def operation(
        self, kind: str, label: str, detail: Mapping[str, Any] | None = None, rewrites: bool = False
    ) -> tuple[int, str]:
        """Begin an operation inside `writing`; return its id, and the time."""
        at = _iso(self._clock())
        db = self._session.db
        cursor = db.execute(
            "INSERT INTO operations (kind, label, detail, at) VALUES (?, ?, ?, ?)",
            (kind, label, json.dumps(detail or {}, ensure_ascii=False), at),
        )
        if rewrites:
            rows.count_rewrite(db)
        return int(cursor.lastrowid or 0), at


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _holds_nothing(path: Path) -> bool:
    """Return whether nothing was ever enrolled: no file, or one whose creation did not get to its end."""
    if not path.exists() or stamp(path)[2:] == (0, stamp(path)[3], 0):
        return True  # no need to open what has no bytes, here or in a log: that may be just what failed
    db = connect(path, create=False, read_only=True).db
    with contextlib.closing(db), translated(path):
        return schema.is_unfinished(db)
