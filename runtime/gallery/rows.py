"""The statements that several of the gallery's operations share, each on an open transaction."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlc_edge.runtime.errors import UsageError, unknown_name
from tlc_edge.runtime.labels import is_label

from . import schema
from .limits import take_limits_back
from .merging import Row, add_picture, holder, insert_row, join, remove
from .packed import HASH_BYTES, Packed, has_vector, is_count, is_thumbnail, row_crc, storable
from .records import KEEP_OPERATIONS, Cursor, GalleryRows

_LOAD_ROWS = 4096


def insert(db: sqlite3.Connection, label: str, example: Packed, at: str, operation: int) -> None:
    """Add one example, with its thumbnail where it has one."""
    source, vector, scale = example
    number = insert_row(db, label, Row(vector, scale, source.sha256, storable(source.name), at), operation)
    if source.thumbnail is not None:
        add_picture(db, number, source.thumbnail)


def relabel(db: sqlite3.Connection, operation: int, old: str, new: str) -> tuple[int, int]:
    """Move a class's examples to `new`; return how many moved and how many were there already."""
    dropped = moved = 0
    # Those first whose image is there: two live rows of one image and name cannot be.
    held = db.execute(
        "SELECT id, source_sha256 FROM examples WHERE label = ? AND removed_by IS NULL", (old,)
    ).fetchall()
    for example in [number for number, sha256 in held if holder(db, new, sha256) is not None]:
        moved += relabel_one(db, operation, example, new)
        dropped += 1
    dropped -= moved
    db.execute(
        "INSERT INTO relabelled (example, operation, label) "
        "SELECT id, ?, label FROM examples WHERE label = ? AND removed_by IS NULL",
        (operation, old),
    )
    rest = db.execute("UPDATE examples SET label = ? WHERE label = ? AND removed_by IS NULL", (new, old))
    return moved + rest.rowcount, dropped


def relabel_one(db: sqlite3.Connection, operation: int, example: int, new: str) -> bool:
    """Move one example to `new`, and return whether it moved: where the class holds its image already, it is removed.

    A merged row is more than its image: it joins the row that holds this.
    """
    sha256, stands_for = db.execute(
        "SELECT source_sha256, stands_for FROM examples WHERE id = ?", (example,)
    ).fetchone()
    there = holder(db, new, sha256)
    if there is not None:
        if stands_for > 1:
            join(db, new, [there, example], operation)
        else:
            remove(db, [example], operation)
        return bool(stands_for > 1)
    db.execute(
        "INSERT INTO relabelled (example, operation, label) SELECT id, ?, label FROM examples WHERE id = ?",
        (operation, example),
    )
    db.execute("UPDATE examples SET label = ? WHERE id = ?", (new, example))
    return True


def labels_of(db: sqlite3.Connection, examples: Sequence[int]) -> list[str]:
    """Return the labels of live examples.

    Raises:
        UsageError: one of them is not there.
    """
    found = [
        db.execute("SELECT label FROM examples WHERE id = ? AND removed_by IS NULL", (example,)).fetchone()
        if -(1 << 63) <= example < 1 << 63
        else None
        for example in examples
    ]
    if missing := [str(example) for example, row in zip(examples, found, strict=True) if row is None]:
        named = f"example {missing[0]}" if len(missing) == 1 else f"examples {', '.join(missing[:10])}"
        raise UsageError(f"no {named} in the gallery; `tlc gallery list BUNDLE LABEL` shows the numbers")
    return [str(row[0]) for row in found if row is not None]


def last_operation(db: sqlite3.Connection) -> tuple[int, str, str] | None:
    """Return id and kind of the operation to undo next, and the class that undoing it is about; or None."""
    row = db.execute(
        "SELECT id, kind, label, detail FROM operations WHERE undone = 0 "
        "AND id > (SELECT max(id) FROM operations) - ? ORDER BY id DESC LIMIT 1",
        (KEEP_OPERATIONS,),
    ).fetchone()
    if row is None:
        return None
    try:
        label = json.loads(row[3]).get("from", row[2])
    except (ValueError, TypeError, AttributeError) as e:
        raise sqlite3.DatabaseError(f"operation {row[0]}: {e}") from None
    return int(row[0]), str(row[1]), str(label)


def take_back(db: sqlite3.Connection, operation: int) -> tuple[int, int]:
    """Take back what an operation marked and named; return how many examples came back and how many went.

    All later operations are undone by then, so the examples stand as this one left them.
    """
    take_limits_back(db, operation)
    # Before others come back: two live rows of one image and name cannot be. What it added and let go itself stays out.
    removed = db.execute(
        "UPDATE examples SET removed_by = ? WHERE added_by = ? AND removed_by IS NULL",
        (operation, operation),
    ).rowcount
    moved = db.execute(
        "UPDATE examples SET label = (SELECT r.label FROM relabelled AS r "
        "WHERE r.example = examples.id AND r.operation = ?) "
        "WHERE id IN (SELECT example FROM relabelled WHERE operation = ?)",
        (operation, operation),
    ).rowcount
    back = db.execute(
        "UPDATE examples SET removed_by = NULL WHERE removed_by = ? AND added_by <> ?", (operation, operation)
    ).rowcount
    db.execute("UPDATE operations SET undone = 1 WHERE id = ?", (operation,))
    count_rewrite(db)
    return moved + back, removed


def read_rows(db: sqlite3.Connection, width: int, cursor: Cursor, most: int | None = None) -> GalleryRows:
    """Return the live examples that came after `cursor`, and which earlier ones went since; vectors int8 [N, width].

    With `most`, no more than so many; what is left comes after the cursor that they lead to.

    Raises:
        TypeError, ValueError: a row is damaged.
    """
    live = "FROM examples WHERE id > ? AND removed_by IS NULL"
    there = int(db.execute(f"SELECT count(*) {live}", (cursor.example,)).fetchone()[0])
    count = there if most is None else min(there, most)
    stands_for = "stands_for" if has_counts(db) else "1"
    ids = np.empty(count, np.int64)
    counts = np.empty(count, np.int64)
    vectors = np.empty((count, width), np.int8)
    scales = np.empty(count, np.float32)
    labels: list[str] = []
    shared: dict[str, str] = {}  # one string object per class, not one per row
    found = db.execute(f"SELECT id, label, vector, scale, {stands_for} {live} ORDER BY id", (cursor.example,))
    # In portions, so that a small board never holds the rows twice.
    for start in range(0, count, _LOAD_ROWS):
        part = found.fetchmany(min(_LOAD_ROWS, count - start))
        span = slice(start, start + len(part))
        ids[span] = [row[0] for row in part]
        labels += [shared[row[1]] if row[1] in shared else shared.setdefault(row[1], named(row[1])) for row in part]
        vectors[span] = np.frombuffer(b"".join([row[2] for row in part]), np.int8).reshape(len(part), width)
        scales[span] = [row[3] for row in part]
        counts[span] = [_counted(row[4]) for row in part]
    rewrites = db.execute("SELECT value FROM meta WHERE key = 'rewrites'").fetchone()
    latest = int(db.execute("SELECT coalesce(max(id), 0) FROM operations").fetchone()[0])
    gone: list[tuple[int]] = []
    if cursor.example and cursor.operation != latest:
        earlier = "SELECT id FROM examples WHERE removed_by > ? AND id <= ?"
        gone = db.execute(earlier, (cursor.operation, cursor.example)).fetchall()
    removed = np.array([g[0] for g in gone], np.int64)
    left = there - count
    spread = _spread(db, width, there) if left and not cursor.example else None
    return GalleryRows(
        ids, tuple(labels), vectors, scales, int(rewrites[0]), latest, removed, counts, left=left, spread=spread
    )


def _spread(db: sqlite3.Connection, width: int, there: int) -> NDArray[np.int8]:
    step = max(1, there // _LOAD_ROWS)
    found = db.execute("SELECT vector FROM examples WHERE removed_by IS NULL AND id % ? = 0", (step,)).fetchall()
    return np.frombuffer(b"".join(vector for (vector,) in found), np.int8).reshape(len(found), width)


def has_counts(db: sqlite3.Connection) -> bool:
    """Return whether rows tell how many examples they stand for: not in the first version."""
    return schema.version_of(db) > 1


def _counted(stands_for: Any) -> int:
    if not is_count(stands_for):
        raise ValueError(f"a row stands for {str(stands_for)[:40]} examples")
    return int(stands_for)


def purge(db: sqlite3.Connection) -> None:
    """Delete what no undo can bring back any more."""
    horizon = int(db.execute("SELECT coalesce(max(id), 0) FROM operations").fetchone()[0]) - KEEP_OPERATIONS
    db.execute("DELETE FROM examples WHERE removed_by IS NOT NULL AND removed_by <= ?", (horizon,))
    db.execute("DELETE FROM relabelled WHERE operation <= ?", (horizon,))


def counts(db: sqlite3.Connection) -> dict[str, int]:
    """Return how many live examples each class has, sorted by name."""
    rows = db.execute("SELECT label, count(*) FROM examples WHERE removed_by IS NULL GROUP BY label")
    return dict(sorted((named(label), int(count)) for label, count in rows))


def named(label: Any) -> str:
    """Return the label of a row.

    Raises:
        ValueError: it is none that tlc would have written.
    """
    if not isinstance(label, str) or not is_label(label):
        raise ValueError(f"{str(label)[:40]!r} cannot name a class")
    return label


def require(db: sqlite3.Connection, label: str) -> None:
    """Raise UsageError where there is no such class."""
    known = counts(db)
    if label not in known:
        raise unknown_name("class", label, known)


def count_rewrite(db: sqlite3.Connection) -> None:
    """Tell readers that rows they hold may have changed."""
    db.execute("UPDATE meta SET value = CAST(value AS INTEGER) + 1 WHERE key = 'rewrites'")


def bad_rows(db: sqlite3.Connection, width: int) -> Iterator[str]:
    """Yield a sentence for every example that is not as it was written, the removed ones included."""
    stands_for = "stands_for" if has_counts(db) else "1"
    found = db.execute(
        f"SELECT id, label, crc, vector, scale, {stands_for}, source_sha256, source_name, at FROM examples"
    )
    for number, label, crc, vector, scale, count, *texts in found:
        if not isinstance(label, str) or not is_label(label):
            yield f"example {number} has a label that cannot name a class"
        if not has_vector(vector, scale, width):
            yield f"example {number} has no vector of width {width}"
        elif row_crc(vector, scale, *map(str, texts)) != crc:
            yield f"example {number} is not as it was written"
        elif not is_count(count):
            yield f"example {number} stands for no number of examples"
    for number, jpeg, crc in db.execute("SELECT example, jpeg, crc FROM thumbnails ORDER BY example"):
        if not is_thumbnail(jpeg, crc):
            yield f"example {number}: the thumbnail is not the one that was written"
    if schema.version_of(db) >= schema.MERGED:
        for number, image in db.execute("SELECT example, sha256 FROM merged"):
            if not isinstance(image, bytes) or len(image) != HASH_BYTES:
                yield f"example {number} is the mean of an image that has no hash"
