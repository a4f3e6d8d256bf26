"""What is asked of the tables, on one state of the file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence

from . import rows, schema
from .records import Example

_COLUMNS = "id, label, source_name, source_sha256, at, "


def examples(db: sqlite3.Connection, label: str | None) -> list[Example]:
    """Return the rows of one class, or of all, in the order of enrolment."""
    if label is not None:
        rows.require(db, label)
    found = db.execute(
        f"SELECT {_COLUMNS} EXISTS (SELECT 1 FROM thumbnails WHERE example = id), {_counts(db)} FROM examples "
        f"WHERE removed_by IS NULL {'' if label is None else 'AND label = ?'} ORDER BY id",
        () if label is None else (label,),
    )
    return [Example(i, rows.named(lab), name, sha, at, bool(has), n) for i, lab, name, sha, at, has, n in found]


def taught(db: sqlite3.Connection) -> dict[str, int]:
    """Return how many examples the rows of each class stand for, sorted by name."""
    found = db.execute(f"SELECT label, sum({_counts(db)}) FROM examples WHERE removed_by IS NULL GROUP BY label")
    return dict(sorted((rows.named(label), int(count)) for label, count in found))


def examples_of(db: sqlite3.Connection, ids: Sequence[int]) -> dict[int, tuple[Example, bytes | None]]:
    """Return those of some rows that are there, with their JPEGs."""
    found: dict[int, tuple[Example, bytes | None]] = {}
    for number in ids:
        row = db.execute(
            f"SELECT {_COLUMNS} jpeg, {_counts(db)} FROM examples LEFT JOIN thumbnails "
            "ON example = id WHERE id = ? AND removed_by IS NULL",
            (number,),
        ).fetchone()
        if row is not None:
            found[number] = Example(row[0], row[1], row[2], row[3], row[4], row[5] is not None, row[6]), row[5]
    return found


def labels_of(db: sqlite3.Connection, images: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Yield for each image the labels of the classes that hold it, sorted."""
    knows_merged = schema.version_of(db) >= schema.MERGED
    for sha256 in images:
        found = db.execute(
            "SELECT label FROM examples WHERE source_sha256 = ? AND removed_by IS NULL", (sha256,)
        ).fetchall()
        if knows_merged:
            found += db.execute(
                "SELECT label FROM merged JOIN examples ON id = example WHERE sha256 = ? AND removed_by IS NULL",
                (bytes.fromhex(sha256),),
            ).fetchall()
        yield tuple(sorted({rows.named(label) for (label,) in found}))


def thumbnail(db: sqlite3.Connection, example: int) -> tuple[bytes | None] | None:
    """Return a row's JPEG, if it has one; None where there is no such row."""
    row = db.execute(
        "SELECT jpeg FROM examples LEFT JOIN thumbnails ON example = id WHERE id = ? AND removed_by IS NULL",
        (example,),
    ).fetchone()
    return None if row is None else (None if row[0] is None else bytes(row[0]),)


def problems(db: sqlite3.Connection, width: int) -> Iterator[str]:
    """Examine every page and every row; yield what is wrong, one sentence each."""
    for line in db.execute("PRAGMA integrity_check").fetchall():
        if line[0] != "ok":
            yield f"SQLite: {line[0]}"
    for table, row, other, _ in db.execute("PRAGMA foreign_key_check").fetchall():
        yield f"{table} row {row} points at a {other} that is not there"
    for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        yield f"a trigger {name!r} is there, which no gallery has"
    yield from rows.bad_rows(db, width)


def _counts(db: sqlite3.Connection) -> str:
    return "stands_for" if rows.has_counts(db) else "1"
