"""The gallery's tables, and the numbered migrations that make them.

`application_id` tells a gallery from any other SQLite file and `user_version` counts the migrations
it has been through. Making a new file and upgrading an old one are the same transaction, so a kill
leaves the file before it or after it. A file that a kill left without tables is finished next time.
"""

from __future__ import annotations

import contextlib
import functools
import re
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from tlc_edge.runtime.errors import GalleryError

from .file import roll_back

APPLICATION_ID = 0x746C6347  # "tlcG"

# Each entry is one version: the statements that lead to it from the version before. Never edit a
# released entry: galleries in the field went through it as it was. Append a new one.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        # fingerprint, width, created; rewrites counts the changes that were more than an append.
        "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
        "CREATE TABLE operations ("
        "id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, label TEXT NOT NULL, "
        "detail TEXT NOT NULL DEFAULT '{}', at TEXT NOT NULL, "
        "undone INTEGER NOT NULL DEFAULT 0 CHECK (undone IN (0, 1)))",
        # AUTOINCREMENT: an id is never used twice, so "newer than id" is safe to ask.
        # crc: CRC-32 of the vector's bytes, the scale as a little-endian double, and the UTF-8 text
        # source_sha256 LF source_name LF at.
        "CREATE TABLE examples ("
        "id INTEGER PRIMARY KEY AUTOINCREMENT, label TEXT NOT NULL, vector BLOB NOT NULL, "
        "scale REAL NOT NULL, crc INTEGER NOT NULL, source_sha256 TEXT NOT NULL, "
        "source_name TEXT NOT NULL, at TEXT NOT NULL, added_by INTEGER NOT NULL REFERENCES operations (id), "
        "removed_by INTEGER REFERENCES operations (id))",
        # Apart from `examples`: a scan of the vectors must not read past the pictures.
        "CREATE TABLE thumbnails ("
        "example INTEGER PRIMARY KEY REFERENCES examples (id) ON DELETE CASCADE, "
        "jpeg BLOB NOT NULL, crc INTEGER NOT NULL)",
        # What each example was called before an operation renamed it.
        "CREATE TABLE relabelled ("
        "example INTEGER NOT NULL REFERENCES examples (id) ON DELETE CASCADE, "
        "operation INTEGER NOT NULL REFERENCES operations (id), label TEXT NOT NULL, "
        "PRIMARY KEY (example, operation)) WITHOUT ROWID",
        "CREATE UNIQUE INDEX examples_live ON examples (label, source_sha256) WHERE removed_by IS NULL",
        "CREATE INDEX examples_removed ON examples (removed_by) WHERE removed_by IS NOT NULL",
        "CREATE INDEX examples_added ON examples (added_by)",
        "CREATE INDEX relabelled_operation ON relabelled (operation)",
    ),
    (
        # How many examples of its class it speaks for: itself and those that gave way to it, or were merged into it.
        "ALTER TABLE examples ADD COLUMN stands_for INTEGER NOT NULL DEFAULT 1",
    ),
    (
        # Which images a merged row is the mean of, beside its source_sha256: their SHA-256, 32 bytes each.
        "CREATE TABLE merged ("
        "sha256 BLOB NOT NULL, example INTEGER NOT NULL REFERENCES examples (id) ON DELETE CASCADE, "
        "PRIMARY KEY (sha256, example)) WITHOUT ROWID",
        "CREATE INDEX merged_example ON merged (example)",
        # Under which labels an image is there: asked for each example of another gallery.
        "CREATE INDEX examples_image ON examples (source_sha256) WHERE removed_by IS NULL",
    ),
)

MERGED = 3
"""The version from which on rows may be merged ones."""

# A name that begins as SQLite's own do is not enough: a trigger can be given one, and would run.
_OF_SQLITE = re.compile(r"table (sqlite_(?:sequence|stat[1-4])) CREATE TABLE \1\([\w,]+\)")


def is_unfinished(db: sqlite3.Connection) -> bool:
    """Return whether the file has no tables and no mark: its creation never got to its end."""
    tables = int(db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])
    return tables == 0 and _pragma(db, "application_id") == 0 and _pragma(db, "user_version") == 0


def version_of(db: sqlite3.Connection) -> int:
    """Return how many migrations the file has been through."""
    return _pragma(db, "user_version")


def is_current(
    db: sqlite3.Connection, path: Path, migrations: Sequence[Sequence[str]] = MIGRATIONS, *, read_only: bool = False
) -> bool:
    """Return whether the file has been through all migrations; a trigger matters only to who writes.

    Raises:
        GalleryError: it is something else's SQLite file, or of a later version.
    """
    if is_unfinished(db):
        return False
    if _pragma(db, "application_id") != APPLICATION_ID:
        raise GalleryError(f"{path}: an SQLite file, but not a tlc gallery; choose another file")
    version = _pragma(db, "user_version")
    if version < 1:  # not one of before: the first gallery had version 1
        raise GalleryError(
            f"{path}: the gallery has version {version}, which none has, so it is damaged; save what is readable with "
            "`tlc gallery recover`, or choose another file"
        )
    if version > len(migrations):
        raise GalleryError(
            f"{path}: the gallery has version {version}, this tlc knows 1 to {len(migrations)}; "
            "upgrade tlc on this device"
        )
    foreign = _foreign(db, migrations[:version], read_only)
    if foreign is not None:
        raise GalleryError(
            f"{path}: {foreign}, so it is damaged or was made to do harm; save what is readable with "
            "`tlc gallery recover`, or choose another file"
        )
    return version == len(migrations)


def _foreign(db: sqlite3.Connection, migrations: Sequence[Sequence[str]], read_only: bool) -> str | None:
    """Return in what the file's tables are not those that tlc makes; None where they are."""
    made = _made(tuple(map(tuple, migrations)))
    there = _objects(db)
    for name in sorted(set(made) | set(there)):
        if name not in there:
            return f"it lacks the {name[0]} {name[1]!r} of a gallery"
        if name not in made and read_only and name[0] == "trigger":
            continue
        if name not in made:
            return f"it has {'an' if name[0] == 'index' else 'a'} {name[0][:20]} {name[1][:40]!r}, which no gallery has"
        if made[name] != there[name]:
            return f"its {name[0]} {name[1]!r} is not that of a gallery"
    return None


@functools.cache
def _made(migrations: tuple[tuple[str, ...], ...]) -> dict[tuple[str, str], str]:
    with contextlib.closing(sqlite3.connect(":memory:")) as db:
        for statement in (s for step in migrations for s in step):
            db.execute(statement)
        return _objects(db)


def _objects(db: sqlite3.Connection) -> dict[tuple[str, str], str]:
    """Return the SQL of tables, indices, views and triggers; those that SQLite makes for itself are left out."""
    found = db.execute("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL")
    return {
        (str(kind), str(name)): "".join(str(sql).split())
        for kind, name, sql in found
        if not _OF_SQLITE.fullmatch(f"{kind} {name} {sql}")
    }


def upgrade(
    db: sqlite3.Connection,
    path: Path,
    meta: dict[str, str],
    migrations: Sequence[Sequence[str]] = MIGRATIONS,
) -> None:
    """Bring the file to the newest version in one transaction; `meta` is written to a new one only.

    Raises:
        GalleryError: as `is_current`.
        sqlite3.Error: the file cannot be written; it is then as it was.
    """
    try:
        db.execute("BEGIN IMMEDIATE")
        # Asked again under the lock: another process may have been here first.
        if not is_current(db, path, migrations):
            done = _pragma(db, "user_version")
            for statement in (s for step in migrations[done:] for s in step):
                db.execute(statement)
            if done == 0:
                db.executemany("INSERT INTO meta (key, value) VALUES (?, ?)", sorted(meta.items()))
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            db.execute(f"PRAGMA user_version = {len(migrations)}")
        db.execute("COMMIT")
    except BaseException:
        roll_back(db)
        raise


def _pragma(db: sqlite3.Connection, name: str) -> int:
    return int(db.execute(f"PRAGMA {name}").fetchone()[0])
