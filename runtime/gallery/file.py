"""Opening an SQLite file so that a power cut cannot hurt it, and saying in one sentence why it failed."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from pathlib import Path

from tlc_edge.runtime.errors import GalleryError

BUSY_SECONDS = 10.0

SQLITE_ERRORS = (sqlite3.Error, UnicodeDecodeError)
"""What the sqlite3 module raises; the second one where a damaged name gets into SQLite's own message."""


def connect(path: Path, *, create: bool, read_only: bool) -> tuple[sqlite3.Connection, bool]:
    """Open the file and read its header; return the connection and whether it was opened immutable.

    A reader asks for a writable connection too: only such a one can replay what a power cut left in
    the write-ahead log, and tidy the log away when it closes. `PRAGMA query_only` keeps it from writing.
    Where the folder is read-only, or full, and there is no log, the file does not change: `immutable` reads it.

    Raises:
        GalleryError: there is no such file, or it is not a readable SQLite file.
    """
    if path.exists() and not path.is_file():
        raise GalleryError(f"{path}: not a file, so it cannot be a gallery; choose another with --gallery")
    if path.exists() and path.stat().st_size == 1:  # SQLite takes such a file for an empty one
        raise GalleryError(f"{path}: not a tlc gallery; choose another with --gallery")
    if not path.exists() and not create:
        raise GalleryError(f"{path}: no such gallery; teach a first class with `tlc enroll`")
    if not path.parent.is_dir():
        raise GalleryError(f"{path.parent}: no such folder to keep {path.name} in; make it first")
    with translated(path):
        try:
            return _connect(path, "mode=rwc" if create else "mode=rw", read_only), False
        except sqlite3.OperationalError as e:
            # The last two: no room on the disk for the log's index.
            blocked = _code(e) in (
                sqlite3.SQLITE_CANTOPEN,
                sqlite3.SQLITE_READONLY,
                sqlite3.SQLITE_IOERR,
                sqlite3.SQLITE_FULL,
            )
            if not (read_only and blocked and os.access(path, os.R_OK)):
                raise
            if has_log(path):
                raise GalleryError(
                    f"{path}: cannot be read because its folder is read-only or full and {path.name}-wal is not "
                    "yet part of it; copy both to a writable folder"
                ) from None
            return _connect(path, "mode=ro&immutable=1", read_only), True


def has_log(path: Path) -> bool:
    """Return whether a write-ahead log with something in it lies beside the file."""
    log = path.with_name(path.name + "-wal")
    return log.exists() and log.stat().st_size > 0


def _connect(path: Path, mode: str, read_only: bool) -> sqlite3.Connection:
    db = sqlite3.connect(
        f"{path.absolute().as_uri()}?{mode}",
        uri=True,
        timeout=BUSY_SECONDS,
        isolation_level=None,  # transactions are spelled out
        check_same_thread=False,  # Gallery holds a lock around every use
    )
    try:
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA fullfsync = ON")
        db.execute("PRAGMA foreign_keys = ON")
        db.execute("PRAGMA trusted_schema = OFF")
        db.execute("PRAGMA cell_size_check = ON")
        db.execute(f"PRAGMA query_only = {'ON' if read_only else 'OFF'}")
        db.execute("SELECT count(*) FROM sqlite_master").fetchone()  # fails here where the file is unusable
    except BaseException:
        db.close()
        raise
    return db


def stamp(path: Path) -> tuple[int, ...]:
    """Return what tells one file, and one state of it, from another."""
    try:
        now = path.stat()
    except FileNotFoundError:
        return ()
    return now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns, int(has_log(path))


def use_log(db: sqlite3.Connection) -> None:
    """Switch to the write-ahead log. Where the file system has none, SQLite's journal is as durable."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL").fetchone()
            return
        except sqlite3.OperationalError as e:
            # SQLite does not wait for this lock by itself.
            if _code(e) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def roll_back(db: sqlite3.Connection) -> None:
    """Leave a transaction, if there is one, without hiding the error that ended it."""
    with contextlib.suppress(*SQLITE_ERRORS):
        if db.in_transaction:
            db.execute("ROLLBACK")


class translated:  # noqa: N801
    """Turn what SQLite raises into a GalleryError with the next step. A class: every frame passes through it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, SQLITE_ERRORS):
            raise GalleryError(f"{self._path}: {_sentence(error)}") from error
        if isinstance(error, OSError):
            raise GalleryError(f"{self._path}: cannot be read ({error.strerror or error})") from error


def _sentence(e: Exception) -> str:
    if isinstance(e, sqlite3.ProgrammingError):
        return "the gallery is closed; open it again"
    match _code(e):
        case sqlite3.SQLITE_FULL:
            return "the disk is full, so nothing was changed; free some space and try again"
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return f"in use by another process for more than {BUSY_SECONDS:.0f} s; try again when it is done"
        case sqlite3.SQLITE_READONLY:
            return "the file or its folder is read-only; make both writable, or choose another with --gallery"
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
            return "cannot be opened; check that you may write to the file and to its folder"
        case sqlite3.SQLITE_IOERR:
            return f"the disk failed ({e}), so nothing was changed; check its free space and health"
        case sqlite3.SQLITE_NOTADB:
            return (
                "not a tlc gallery, or its beginning is damaged; choose another with --gallery, or save what is "
                "readable with `tlc gallery recover`"
            )
        case _:
            return (
                f"the gallery is damaged ({e}) and was left as it is; "
                "save what is readable with `tlc gallery recover`, or move it away to start a new one"
            )


def _code(e: Exception) -> int:
    """Return the primary result code, 0 where the error did not come from SQLite itself."""
    return int(getattr(e, "sqlite_errorcode", 0)) & 0xFF
