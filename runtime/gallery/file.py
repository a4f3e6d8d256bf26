"""Opening an SQLite file so that a power cut cannot hurt it, and saying in one sentence why it failed."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from pathlib import Path
from typing import Any, NamedTuple

from tlc_edge.runtime.errors import GalleryError, first_line

from .disk import disk_of, has_locks

BUSY_SECONDS = 10.0

# What rows that no tlc wrote make of the code that reads them.
_DAMAGE = (TypeError, ValueError, LookupError, AttributeError, OverflowError)
# No value that a gallery holds is longer, and no statement of ours needs more; VACUUM attaches one file.
_LIMITS = (
    (sqlite3.SQLITE_LIMIT_LENGTH, 64 << 20),
    (sqlite3.SQLITE_LIMIT_SQL_LENGTH, 100_000),
    (sqlite3.SQLITE_LIMIT_ATTACHED, 1),
    (sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH, 1),
)
_PORTION = 100_000  # steps of SQLite's machine
LEAST_PORTIONS, BYTES_A_PORTION = 50, 4096
"""How much work one operation may be: so many portions, and one more for so many bytes of the file."""
_SOON = 0.5  # seconds after which to ask whether there are locks at all
_READER_SECONDS = 1.0

SQLITE_ERRORS = (sqlite3.Error, UnicodeDecodeError)
"""What the sqlite3 module raises; the second one where a damaged name gets into SQLite's own message."""


class Opened(NamedTuple):
    """A connection, and what it can be relied on for."""

    db: sqlite3.Connection
    immutable: bool = False
    """It takes the file for one that never changes, and never looks at it again."""
    shared: bool = False
    """Other machines may change the file, and what this one has in memory of it may be old."""


def connect(path: Path, *, create: bool, read_only: bool) -> Opened:
    """Open the file and read its header.

    A reader asks for a writable connection too: only such a one can replay what a power cut left in
    the write-ahead log or the journal, and tidy it away. `PRAGMA query_only` keeps it from writing.
    Where the folder is read-only, or full, and there is no log, the file does not change: `immutable` reads it;
    likewise where the file system refuses locks. A new file is for its owner alone: it is to hold pictures.

    Raises:
        GalleryError: there is no such file, or it is not a readable SQLite file, or it cannot be locked.
    """
    if path.exists() and not path.is_file():
        raise GalleryError(f"{path}: not a file, so it cannot be a gallery; choose another file")
    if path.exists() and path.stat().st_size == 1:  # SQLite takes such a file for an empty one
        raise GalleryError(f"{path}: not a tlc gallery; choose another file")
    if not path.exists() and not create:
        raise GalleryError(f"{path}: no such gallery; teach a first class with `tlc enroll`")
    if not path.parent.is_dir():
        raise GalleryError(f"{path.parent}: no such folder to keep {path.name} in; make it first")
    for suffix in ("-wal", "-shm", "-journal"):
        beside = path.with_name(path.name + suffix)
        if beside.is_symlink():  # SQLite would write through it
            raise GalleryError(f"{beside}: a link, which no gallery has beside it; remove it if you did not make it")
    disk = disk_of(path)
    with translated(path):
        mode = "mode=rwc" if create else "mode=rw"
        if create:
            _make(path)
        try:
            try:
                return Opened(_connect(path, mode, read_only, log=disk.local), shared=not disk.local)
            except sqlite3.OperationalError as e:
                if not _name(e).startswith("SQLITE_IOERR_SHM"):
                    raise
                return Opened(_connect(path, mode, read_only, log=False))  # no memory can be shared here
        except (sqlite3.OperationalError, _NoLocksError) as e:
            if isinstance(e, _NoLocksError) and not read_only:
                raise GalleryError(
                    f"{path}: {disk} refuses to lock files, and unlocked, two programs could spoil it; mount it with "
                    "locks, or choose a place on this device with --gallery"
                ) from None
            # The last two: no room on the disk for the log's index.
            blocked = isinstance(e, _NoLocksError) or _code(e) in (
                sqlite3.SQLITE_CANTOPEN,
                sqlite3.SQLITE_READONLY,
                sqlite3.SQLITE_IOERR,
                sqlite3.SQLITE_FULL,
            )
            if not (read_only and blocked and os.access(path, os.R_OK)):
                raise
            for kind, name in (("wal", f"{path.name}-wal"), ("journal", f"{path.name}-journal")):
                if _has(path, kind):
                    raise GalleryError(
                        f"{path}: cannot be read because its folder is read-only or full and {name} is not "
                        "yet part of it; copy both to a writable folder"
                    ) from None
            return Opened(_connect(path, "mode=ro&immutable=1", read_only, log=True), immutable=True)


class _NoLocksError(Exception):
    """The file system refuses every lock."""


def _make(path: Path) -> None:
    with contextlib.suppress(OSError):  # it exists, or SQLite says why it cannot
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))


def has_log(path: Path) -> bool:
    """Return whether a write-ahead log with something in it lies beside the file."""
    return _has(path, "wal")


def _has(path: Path, kind: str) -> bool:
    beside = path.with_name(f"{path.name}-{kind}")
    return beside.exists() and beside.stat().st_size > 0


def _connect(path: Path, mode: str, read_only: bool, log: bool) -> sqlite3.Connection:
    db = sqlite3.connect(
        f"{path.absolute().as_uri()}?{mode}",
        uri=True,
        timeout=_SOON,
        isolation_level=None,  # transactions are spelled out
        check_same_thread=False,  # Gallery holds a lock around every use
    )
    try:
        db.execute("PRAGMA foreign_keys = ON")
        db.execute("PRAGMA trusted_schema = OFF")
        defend(db)
        db.execute("PRAGMA cell_size_check = ON")
        bound_steps(db, path)
        try:
            _begin(db, log)
        except sqlite3.OperationalError as e:
            if _code(e) != sqlite3.SQLITE_BUSY:
                raise
            if not has_locks(path.parent):  # SQLite calls that busy too
                raise _NoLocksError from None
            db.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000:.0f}")
            _begin(db, log)
        db.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000:.0f}")
        db.execute(f"PRAGMA synchronous = {'FULL' if log else 'EXTRA'}")
        db.execute("PRAGMA fullfsync = ON")
        db.execute(f"PRAGMA query_only = {'ON' if read_only else 'OFF'}")
    except BaseException:
        db.close()
        raise
    return db


def _begin(db: sqlite3.Connection, log: bool) -> None:
    """Read the header, which fails where the file is unusable; turn a file with a log into one with a journal.

    Alone with the file, SQLite needs no shared memory for the log.
    """
    if not log:
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        if db.execute("PRAGMA journal_mode").fetchone()[0] == "wal":
            db.execute("PRAGMA journal_mode = DELETE")
        db.execute("PRAGMA locking_mode = NORMAL")
    db.execute("SELECT count(*) FROM sqlite_master").fetchone()


def defend(db: sqlite3.Connection) -> None:
    """Keep what a stranger's file says from more than a gallery needs; SQLite's defensive mode from Python 3.12 on."""
    for limit, value in _LIMITS:
        db.setlimit(limit, value)
    defensive: Any = getattr(sqlite3, "SQLITE_DBCONFIG_DEFENSIVE", None)
    if defensive is not None:
        configured: Any = db
        configured.setconfig(defensive, True)


def bound_steps(db: sqlite3.Connection, path: Path) -> None:
    """From now on, interrupt what takes more steps than reading the file over and over could.

    The pages of a file can be joined so that a few of them hold rows without end.
    """
    size = 0
    for name in (path.name, f"{path.name}-wal"):
        with contextlib.suppress(OSError):
            size += path.with_name(name).stat().st_size
    left = LEAST_PORTIONS + size // BYTES_A_PORTION

    def tick() -> int:
        nonlocal left
        left -= 1
        return left < 0

    db.set_progress_handler(tick, _PORTION)


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
            if db.execute("PRAGMA journal_mode = WAL").fetchone()[0] == "wal":
                db.execute("SELECT count(*) FROM sqlite_master").fetchone()
                return
            break
        except sqlite3.OperationalError as e:
            if _name(e).startswith("SQLITE_IOERR_SHM"):
                break
            # SQLite does not wait for this lock by itself.
            if _code(e) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
    db.execute("PRAGMA synchronous = EXTRA")  # that a journal is gone must be on the disk too
    _begin(db, log=False)


def empty_log(db: sqlite3.Connection) -> None:
    """Bring what was committed into the file itself, so that a copy of it alone is whole.

    A reader that is in the middle of an older state keeps it from being done for as long; it is waited for, but not
    for ever. The change is on the disk either way, so nothing is raised.
    """
    with contextlib.suppress(*SQLITE_ERRORS):
        _, held, moved = db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        if held == moved:
            return
        db.execute(f"PRAGMA busy_timeout = {_READER_SECONDS * 1000:.0f}")
        try:
            db.execute("PRAGMA wal_checkpoint(FULL)").fetchone()
        finally:
            db.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000:.0f}")


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
        if isinstance(error, _DAMAGE):
            raise GalleryError(
                f"{self._path}: a row of the gallery is damaged ({first_line(error)[:80]}) and nothing was changed; "
                "`tlc gallery check` names it, `tlc gallery recover` saves what is readable"
            ) from error


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
        case sqlite3.SQLITE_INTERRUPT:
            return (
                "reading it takes more steps than a gallery of its size can need, so it is damaged or was made to do "
                "harm; save what is readable with `tlc gallery recover`"
            )
        case sqlite3.SQLITE_NOTADB:
            return (
                "not a tlc gallery, or its beginning is damaged; choose another file, or save what is "
                "readable with `tlc gallery recover`"
            )
        case _:
            return (
                f"the gallery is damaged ({e}) and was left as it is; "
                "save what is readable with `tlc gallery recover`, or move it away to start a new one"
            )


def _name(e: Exception) -> str:
    return str(getattr(e, "sqlite_errorname", ""))


def _code(e: Exception) -> int:
    """Return the primary result code, 0 where the error did not come from SQLite itself."""
    return int(getattr(e, "sqlite_errorcode", 0)) & 0xFF
