"""The feature cache: what was computed once is not computed again.

One SQLite file of keys and values, where a key is a hash of everything that decides its value; so nothing in
it is ever out of date, and any of it may go at any time. It survives a kill (a transaction is whole or not
there) and two builds at once. Each value carries a checksum over key and value: a damaged one is a miss, a
damaged file is replaced by a new one, and a cache that cannot be used at all only makes a build slower.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import sqlite3
import threading
import time
from collections.abc import Generator, Iterable
from pathlib import Path

from tlc_edge.runtime.files import is_own

LIMIT = 2_000_000_000
"""Bytes kept; beyond, what was used longest ago goes."""
_ROOM_LEFT = 0.9  # of the limit, after making room: so that it is not made again at once
_SUFFIXES = ("", "-wal", "-shm", "-journal")
_FRESH = 3600  # seconds: a use within an hour of the last need not be written down
_SCHEMA = """
PRAGMA auto_vacuum = INCREMENTAL;
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
CREATE TABLE IF NOT EXISTS entries (key BLOB PRIMARY KEY, id INTEGER NOT NULL, used INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS payloads (id INTEGER PRIMARY KEY, checksum BLOB NOT NULL, value BLOB NOT NULL);
"""
_UNUSABLE = frozenset(
    (sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH)
)
_BUSY = frozenset((sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED))


class FeatureCache:
    """Bytes by key; threads may share one. Nothing it does raises: `problem` says why it stopped, if it did."""

    def __init__(self, folder: Path, limit: int = LIMIT) -> None:
        self.path = folder / "features-1.sqlite"
        self.problem: str | None = None
        self._limit = limit
        self._lock = threading.Lock()
        self._used: set[bytes] = set()
        self._ready = self._healed = False
        self._db: sqlite3.Connection | None = None
        with self._lock, self._guard():
            self._open()

    def get(self, key: bytes) -> bytes | None:
        """Return the value of a key, or None where it is not there or is damaged."""
        with self._lock, self._guard():
            if self._db is None:
                return None
            row = self._db.execute(
                "SELECT used, checksum, value FROM entries JOIN payloads USING (id) WHERE key = ?", (key,)
            ).fetchone()
            if row is None:
                return None
            used, checksum, value = row
            if not isinstance(value, bytes) or checksum != _checksum(key, value):
                return None
            if not isinstance(used, int) or abs(time.time() - used) > _FRESH:
                self._used.add(key)
            return value
        return None

    def put(self, rows: Iterable[tuple[bytes, bytes]]) -> None:
        """Keep keys with their values: all of them, or none where the build is killed meanwhile."""
        with self._lock, self._guard():
            if self._db is None:
                return
            now = int(time.time())
            with self._transaction(self._db):
                self._db.executemany("UPDATE entries SET used = ? WHERE key = ?", [(now, k) for k in self._used])
                self._used.clear()
                for key, value in rows:
                    row = self._db.execute("SELECT id FROM entries WHERE key = ?", (key,)).fetchone()
                    fields = (row and row[0], _checksum(key, value), value)
                    number = self._db.execute("INSERT OR REPLACE INTO payloads VALUES (?, ?, ?)", fields).lastrowid
                    self._db.execute("INSERT OR REPLACE INTO entries VALUES (?, ?, ?)", (key, number, now))
            self._make_room(self._db)

    def close(self) -> None:
        """Write down what was used, and let go of the file."""
        if self._used:
            self.put([])
        with self._lock, self._guard():
            if self._db is not None:
                self._db.close()
                self._db = None

    def count(self) -> tuple[int, int]:
        """Return the number of entries and the bytes they take."""
        with self._lock, self._guard():
            if self._db is not None:
                return int(self._db.execute("SELECT count(*) FROM entries").fetchone()[0]), _bytes(self._db)
        return 0, 0

    def __enter__(self) -> FeatureCache:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self) -> None:
        self.path.parent.mkdir(0o700, parents=True, exist_ok=True)
        beside = [self.path.with_name(self.path.name + suffix) for suffix in _SUFFIXES]
        for path in (self.path.parent, *filter(os.path.lexists, beside)):
            if not is_own(path):  # features are taken as they are, whoever computed them
                self._give_up(f"{path} is another user's, a link, or open for others to write; choose another --cache")
                return
        with contextlib.suppress(FileExistsError):
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        # Threads take turns under the lock; a second build waits for the other's transaction.
        self._db = sqlite3.connect(self.path, timeout=10, isolation_level=None, check_same_thread=False)
        for attempt in itertools.count():
            try:
                self._db.executescript(_SCHEMA)
                self._ready = True
                return
            except sqlite3.OperationalError as e:
                # Two builds that make the file at once: SQLite does not wait with the change to WAL.
                if e.sqlite_errorcode & 0xFF not in _BUSY or attempt == 100:
                    raise
                time.sleep(0.1)

    @contextlib.contextmanager
    def _guard(self) -> Generator[None]:
        """Turn every failure of the file into a miss: heal what is damaged, give up what cannot be used."""
        try:
            yield
        except sqlite3.Error as e:
            code = getattr(e, "sqlite_errorcode", 0) & 0xFF
            if code in _BUSY and self._ready:
                return  # another build is at it; this batch is not kept
            if code in _UNUSABLE | _BUSY or self._healed:
                self._give_up(str(e))
                return
            self._healed = True
            self._heal()
        except OSError as e:
            self._give_up(e.strerror or str(e))

    @contextlib.contextmanager
    def _transaction(self, db: sqlite3.Connection) -> Generator[None]:
        db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                db.execute("ROLLBACK")
            raise
        db.execute("COMMIT")

    def _heal(self) -> None:
        self._drop()
        try:
            _remove(self.path)
            self._open()
        except (sqlite3.Error, OSError) as e:
            self._give_up(str(e))

    def _give_up(self, reason: str) -> None:
        self.problem = f"{self.path}: the feature cache cannot be used ({reason})"
        self._drop()

    def _drop(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            if self._db is not None:
                self._db.close()
        self._db = None

    def _make_room(self, db: sqlite3.Connection) -> None:
        if _bytes(db) <= self._limit:
            return
        with self._transaction(db):
            oldest = db.execute("SELECT key, id, length(value) FROM entries JOIN payloads USING (id) ORDER BY used, id")
            excess = _bytes(db) - int(_ROOM_LEFT * self._limit)
            gone: list[tuple[bytes, int]] = []
            for key, number, size in oldest:
                if excess <= 0:
                    break
                gone.append((key, number))
                excess -= size
            db.executemany("DELETE FROM payloads WHERE id = ?", [(number,) for _, number in gone])
            db.executemany("DELETE FROM entries WHERE key = ?", [(key,) for key, _ in gone])
        db.executescript("PRAGMA incremental_vacuum")  # `execute` would stop after the first page
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _remove(path: Path) -> None:
    """Remove a database and what SQLite keeps beside it."""
    for suffix in _SUFFIXES:
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _bytes(db: sqlite3.Connection) -> int:
    pages, free, size = (int(db.execute(f"PRAGMA {name}").fetchone()[0]) for name in _PAGES)
    return (pages - free) * size


_PAGES = ("page_count", "freelist_count", "page_size")


def _checksum(key: bytes, value: bytes) -> bytes:
    return hashlib.blake2b(value, key=key[:64], digest_size=12).digest()
