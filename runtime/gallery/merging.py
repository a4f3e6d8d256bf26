"""Merged rows: several examples of a class as one, the mean of them, which knows how many and which images it is of.

Like every row it never changes: where another example comes to it, a new row takes the place of both. What was merged
is marked as removed by the operation that did it, as anything that goes is, so that undoing it brings the parts back.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tlc_edge.runtime.vectors import quantize_row

from .packed import MOST_EXAMPLES, are_images, row_crc
from .thinning import mean_of

KNOWN_IMAGES = 64
"""Images that a merged row remembers beside the one it shows; of more, the lowest hashes."""


@dataclass(frozen=True)
class Row:
    """A row of a gallery, all but its picture."""

    vector: bytes
    scale: float
    sha256: str
    name: str
    at: str
    stands_for: int = 1
    images: tuple[bytes, ...] = ()
    """Hashes of the other images that it is the mean of, ascending; 32 bytes each."""

    def own_images(self) -> set[bytes]:
        """Return the hashes of all images that it is known to be made of."""
        return {bytes.fromhex(self.sha256), *self.images}


def merged(rows: Sequence[Row], overlap: int = 0) -> Row:
    """Return the mean of rows, in the order given; `overlap` images are in more than one of them.

    It goes under the image of the one that speaks for the most examples, of equals the first.
    """
    mean = mean_of(
        [np.frombuffer(row.vector, np.int8) for row in rows],
        [row.scale for row in rows],
        [row.stands_for for row in rows],
    )
    vector, scale = quantize_row(mean.vector)
    shown = max(rows, key=lambda row: row.stands_for)  # the first of equals
    images = {image for row in rows for image in row.own_images()} - {bytes.fromhex(shown.sha256)}
    return replace(
        shown,
        vector=vector.tobytes(),
        scale=scale,
        at=max(row.at for row in rows),
        stands_for=min(MOST_EXAMPLES, max(1, mean.stands_for - overlap)),
        images=tuple(sorted(images)[:KNOWN_IMAGES]),
    )


def without(row: Row, images: Iterable[bytes]) -> Row | None:
    """Return what a row is without some of its images, its vector as it is; None where nothing known is left.

    Where the image that it shows goes, it goes by the lowest hash of those left, and by that as its name.
    """
    going = set(images) & row.own_images()
    left = row.own_images() - going
    if not left:
        return None
    shown = bytes.fromhex(row.sha256)
    if shown in going:
        sha256 = min(left).hex()
        row = replace(row, sha256=sha256, name=sha256[:12])
    rest = left - {bytes.fromhex(row.sha256)}
    return replace(row, stands_for=max(1, row.stands_for - len(going)), images=tuple(sorted(rest)))


def read_row(db: sqlite3.Connection, example: int) -> Row:
    """Return a row by its id, which exists."""
    vector, scale, sha256, name, at, stands_for = db.execute(
        "SELECT vector, scale, source_sha256, source_name, at, stands_for FROM examples WHERE id = ?", (example,)
    ).fetchone()
    return Row(vector, scale, sha256, name, at, stands_for, images_of(db, example))


def images_of(db: sqlite3.Connection, example: int) -> tuple[bytes, ...]:
    """Return the hashes of the images that a row is the mean of, beside the one it shows; ascending.

    Raises:
        ValueError: one is damaged.
    """
    found = db.execute("SELECT sha256 FROM merged WHERE example = ? ORDER BY sha256", (example,))
    images = tuple(image for (image,) in found)
    if not are_images(images):
        raise ValueError(f"example {example} is the mean of an image that has no hash")
    return images


def insert_row(db: sqlite3.Connection, label: str, row: Row, operation: int) -> int:
    """Add a row, without a picture; return its id."""
    crc = row_crc(row.vector, row.scale, row.sha256, row.name, row.at)
    number = db.execute(
        "INSERT INTO examples (label, vector, scale, crc, source_sha256, source_name, at, added_by, stands_for) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (label, row.vector, row.scale, crc, row.sha256, row.name, row.at, operation, row.stands_for),
    ).lastrowid
    assert number is not None
    db.executemany("INSERT INTO merged (sha256, example) VALUES (?, ?)", [(image, number) for image in row.images])
    return number


def add_picture(db: sqlite3.Connection, example: int, jpeg: bytes) -> None:
    """Keep a row's picture."""
    db.execute("INSERT INTO thumbnails (example, jpeg, crc) VALUES (?, ?, ?)", (example, jpeg, zlib.crc32(jpeg)))


def join(db: sqlite3.Connection, label: str, examples: Sequence[int], operation: int) -> int:
    """Let one new row of class `label` take the place of rows, with the picture of the one it shows; return its id."""
    rows = [read_row(db, example) for example in examples]
    found = merged(rows, _overlap(row.own_images() for row in rows))
    remove(db, examples, operation)
    number = insert_row(db, label, found, operation)
    shown = next(e for e, row in zip(examples, rows, strict=True) if row.sha256 == found.sha256)
    copy_picture(db, shown, number)
    return number


def copy_picture(db: sqlite3.Connection, of: int, to: int) -> None:
    """Keep the picture of a row, where it has one, for another too."""
    db.execute(
        "INSERT INTO thumbnails (example, jpeg, crc) SELECT ?, jpeg, crc FROM thumbnails WHERE example = ?", (to, of)
    )


def _overlap(images: Iterable[set[bytes]]) -> int:
    """Return how many images are counted more than once."""
    seen: set[bytes] = set()
    twice = 0
    for some in images:
        twice += len(seen & some)
        seen |= some
    return twice


def remove(db: sqlite3.Connection, examples: Iterable[int], operation: int) -> None:
    """Mark rows as removed by an operation."""
    db.executemany("UPDATE examples SET removed_by = ? WHERE id = ?", [(operation, example) for example in examples])


def holder(db: sqlite3.Connection, label: str, sha256: str) -> int | None:
    """Return the row of a class that shows an image or is the mean of it and others; None where there is none."""
    row = db.execute(
        "SELECT id FROM examples WHERE label = ? AND source_sha256 = ? AND removed_by IS NULL UNION ALL "
        "SELECT id FROM merged JOIN examples ON id = example WHERE sha256 = ? AND label = ? AND removed_by IS NULL "
        "LIMIT 1",
        (label, sha256, bytes.fromhex(sha256), label),
    ).fetchone()
    return None if row is None else int(row[0])
