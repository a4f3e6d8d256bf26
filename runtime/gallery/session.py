"""One open gallery file: its connection, and transactions that any number of threads and forks may ask for."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Generator
from pathlib import Path

from tlc_edge.runtime.errors import GalleryError
from tlc_edge.runtime.forks import Forks

from . import rows
from .file import SQLITE_ERRORS, Opened, bound_steps, connect, empty_log, roll_back, stamp, translated
from .records import WIDEST

_TRIES = 20


class Session:
    """A connection to the gallery at `path`, renewed where it must be.

    A fork waits for a transaction to end; the child has connections of its own.
    """

    def __init__(self, path: Path, opened: Opened, read_only: bool) -> None:
        """Take over an open connection to a file that is not empty.

        Raises:
            sqlite3.DatabaseError: it has no fingerprint or width.
        """
        self.path = path
        self._name = os.fspath(path)
        self.read_only = read_only
        self.db, self._immutable, self._shared = opened
        self.lock = threading.RLock()
        self._changes = 0
        self._counted: tuple[tuple[int, int], dict[str, int]] | None = None
        self._stamp = stamp(path)
        meta = dict(self.db.execute("SELECT key, value FROM meta"))
        try:
            self.fingerprint = str(meta["fingerprint"])
            self.width = int(meta["width"])
            if not 1 <= self.width <= WIDEST:
                raise ValueError(self.width)
        except (KeyError, ValueError):
            raise sqlite3.DatabaseError("no fingerprint or width in it") from None
        self._closed = False
        _living.add(self)

    def close(self) -> None:
        """Close the file; where no one else has it open, everything is then in this one file."""
        with self.lock, contextlib.suppress(*SQLITE_ERRORS):
            if not self.read_only:
                self.db.execute("PRAGMA busy_timeout = 0")  # a reader may keep the log; do not wait for it
                self.db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        with self.lock:
            self._closed = True
            self.db.close()

    @property
    def file(self) -> tuple[int, ...]:
        """Which file it is, whatever is in it: its device and its number there."""
        return self._stamp[:2]

    def was_replaced(self) -> bool:
        """Return whether another file has taken this one's place; cheap enough to ask each frame."""
        try:
            now = os.stat(self._name)  # noqa: PTH116 - half of pathlib's time
        except OSError:
            return False
        return (now.st_dev, now.st_ino) != self._stamp[:2]

    def was_removed(self) -> bool:
        """Return whether there is no such file any more, in a folder that is still there, on the same disk."""
        try:
            return not os.path.lexists(self.path) and os.stat(self.path.parent).st_dev == self._stamp[0]  # noqa: PTH116
        except (OSError, IndexError):
            return False

    def data_version(self) -> tuple[int, int]:
        """Return a value that differs after every change, whoever made it; cheap enough to ask each frame."""
        with self.lock:
            try:
                if self._immutable or self._shared:
                    self._look_again()
                return self._version()
            except Exception:
                with translated(self.path):  # only now: every frame passes here
                    raise

    @contextlib.contextmanager
    def writing(self) -> Generator[sqlite3.Connection, None, None]:
        """Run a block as one transaction: all of it is on disk when the block is left, or nothing.

        Raises:
            GalleryError: the file cannot be written, and is unchanged.
        """
        with self.idle():
            self._begin()
            before = self.db.total_changes
            try:
                rows.purge(self.db)
                yield self.db
                self.db.execute("COMMIT")
            except BaseException:
                roll_back(self.db)
                raise
            if self.db.total_changes != before:
                self._changes += 1
                empty_log(self.db)

    @contextlib.contextmanager
    def idle(self) -> Generator[sqlite3.Connection, None, None]:
        """Run a block outside any transaction, for the statements that must be.

        Raises:
            GalleryError: the file is open for reading only, or was replaced.
        """
        if self.read_only:
            raise GalleryError(f"{self.path}: opened for reading only; open it for writing to change it")
        with self.lock, translated(self.path):
            if stamp(self.path)[:2] != self.file:
                # SQLite would go on writing to a file that no one will ever find.
                raise GalleryError(f"{self.path}: was moved or replaced while in use; open it again")
            bound_steps(self.db, self.path)
            yield self.db

    @contextlib.contextmanager
    def reading(self) -> Generator[sqlite3.Connection, None, None]:
        """Run a block on one state of the file, whatever others write meanwhile.

        Raises:
            GalleryError: the file cannot be read.
        """
        with self.lock, translated(self.path):
            self._look_again()
            bound_steps(self.db, self.path)
            try:
                self.db.execute("BEGIN")
                yield self.db
            finally:
                roll_back(self.db)

    def counts(self) -> dict[str, int]:
        """Return how many rows each class has, inside a transaction.

        Kept while nothing changed: counting 100,000 rows anew would cost more than adding one.
        """
        now = self._version()
        if self._counted is None or self._counted[0] != now:
            self._counted = (now, rows.counts(self.db))
        return self._counted[1]

    def remember(self, version: int, classes: dict[str, int]) -> None:
        """Keep what the counts are after a change that was made at `version`; only once it is on disk."""
        self._counted = ((version, self._changes), classes)

    def version(self) -> int:
        """Return a number that differs after every commit of another connection."""
        return int(self.db.execute("PRAGMA data_version").fetchone()[0])

    def _version(self) -> tuple[int, int]:
        return self.version(), self._changes

    def _begin(self) -> None:
        """Begin to write, on what is in the file now."""
        if not self._shared:
            self.db.execute("BEGIN IMMEDIATE")
            return
        for _ in range(_TRIES):
            self._reconnect()
            self.db.execute("BEGIN IMMEDIATE")
            # Nobody else writes from here on. A file that is opened now is read anew; what was read just before may be
            # what this machine had in memory, and another has written since.
            with contextlib.closing(connect(self.path, create=False, read_only=True).db) as fresh:
                if _state(fresh) == _state(self.db):
                    return
            roll_back(self.db)
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
        self.db.close()
        self.db, self._immutable, self._shared = opened
        self._stamp = now
        self._changes += 1

    def hold(self) -> None:
        """Let no transaction begin, before a fork."""
        self.lock.acquire()

    def release(self) -> None:
        """Go on."""
        self.lock.release()

    def leave(self) -> None:
        """Let go of the parent's connection, in the child of a fork; nothing is open on it."""
        self.db.close()

    def open_again(self) -> None:
        """Take a connection of one's own in its place; where the file cannot be opened, the gallery is closed."""
        with contextlib.suppress(GalleryError):
            if not self._closed and stamp(self.path)[:2] == self.file:
                self.db, self._immutable, self._shared = connect(self.path, create=False, read_only=self.read_only)
                self._changes += 1


def _renew(sessions: list[Session]) -> None:
    # First all of them: SQLite shares the locks of a file between connections, and believes that it holds the parent's.
    for session in sessions:
        session.leave()
    for session in sessions:
        session.open_again()


_living: Forks[Session] = Forks(4, Session.hold, Session.release, _renew)


def _state(db: sqlite3.Connection) -> tuple[int, ...]:
    """Return numbers of which one differs after every change, whoever made it."""
    latest = db.execute("SELECT coalesce(max(id), 0) FROM operations").fetchone()[0]
    rewrites = db.execute("SELECT value FROM meta WHERE key = 'rewrites'").fetchone()[0]
    return int(latest), int(rewrites)


class _Opening:
    def __init__(self) -> None:
        self.lock = threading.RLock()


@contextlib.contextmanager
def opening() -> Generator[None, None, None]:
    """Make a fork wait for the block, from the first connection to a gallery until its Session is made.

    Half open, it would be nobody's in the child, where SQLite would believe that it holds the parent's locks.
    """
    one = _Opening()
    with one.lock:
        _openings.add(one)
        yield


_openings: Forks[_Opening] = Forks(5, lambda one: one.lock.acquire(), lambda one: one.lock.release(), lambda _: None)
