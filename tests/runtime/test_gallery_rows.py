"""An example that is not as it was written is found, whatever lies in the place of its values."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterator
from typing import Any

import pytest

from tlc_edge.runtime.gallery.packed import has_vector, is_sound, row_crc
from tlc_edge.runtime.gallery.rows import bad_rows

WIDTH = 8
VECTOR = bytes(range(WIDTH))
GOOD: dict[str, Any] = {"vector": VECTOR, "scale": 0.5, "source_sha256": "ab" * 32, "source_name": "a.jpg", "at": "now"}


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    """The two tables without their constraints, as a damaged file may have them."""
    found = sqlite3.connect(":memory:")
    found.execute("CREATE TABLE examples (id, crc, vector, scale, source_sha256, source_name, at)")
    found.execute("CREATE TABLE thumbnails (example, jpeg, crc)")
    yield found
    found.close()


def put(db: sqlite3.Connection, number: int, **changed: Any) -> None:
    crc = row_crc(VECTOR, 0.5, "ab" * 32, "a.jpg", "now")
    values = {"id": number, "crc": crc, **GOOD, **changed}
    db.execute(
        f"INSERT INTO examples ({', '.join(values)}) VALUES ({', '.join('?' * len(values))})", [*values.values()]
    )


def test_what_is_as_it_was_written_is_passed_over(db: sqlite3.Connection) -> None:
    put(db, 1)
    db.execute("INSERT INTO thumbnails VALUES (1, ?, ?)", (b"jpeg", zlib.crc32(b"jpeg")))
    assert list(bad_rows(db, WIDTH)) == []


@pytest.mark.parametrize("vector", [None, "a" * WIDTH, VECTOR[:-1], VECTOR + b"\0", b"", 7], ids=repr)
def test_what_is_no_vector_of_the_width(db: sqlite3.Connection, vector: Any) -> None:
    put(db, 1)
    put(db, 2, vector=vector)
    assert list(bad_rows(db, WIDTH)) == [f"example 2 has no vector of width {WIDTH}"]
    assert not has_vector(vector, 0.5, WIDTH)


@pytest.mark.parametrize("scale", [None, "0.5", 1, b"\0"], ids=repr)
def test_what_is_no_scale(db: sqlite3.Connection, scale: Any) -> None:
    put(db, 2, scale=scale)
    put(db, 3)
    assert list(bad_rows(db, WIDTH)) == [f"example 2 has no vector of width {WIDTH}"]
    assert not has_vector(VECTOR, scale, WIDTH)


@pytest.mark.parametrize(
    "changed",
    [
        {"vector": VECTOR[::-1]},
        {"scale": 0.25},
        {"source_sha256": "cd" * 32},
        {"source_name": "b.jpg"},
        {"at": None},
        {"crc": None},
    ],
    ids=lambda c: next(iter(c)),
)
def test_what_is_another_value(db: sqlite3.Connection, changed: dict[str, Any]) -> None:
    put(db, 5, **changed)
    assert list(bad_rows(db, WIDTH)) == ["example 5 is not as it was written"]


@pytest.mark.parametrize("jpeg", [None, "jpeg", b"jpe", b""], ids=repr)
def test_what_is_another_thumbnail(db: sqlite3.Connection, jpeg: Any) -> None:
    put(db, 1)
    db.execute("INSERT INTO thumbnails VALUES (1, ?, ?)", (jpeg, zlib.crc32(b"jpeg")))
    assert list(bad_rows(db, WIDTH)) == ["example 1: the thumbnail is not the one that was written"]


PLACES = ("id", "label", "vector", "scale", "sha256", "name", "at", "stands_for", "thumbnail")


@pytest.mark.parametrize(
    ("place", "value", "sound"),
    [
        ("thumbnail", None, True),
        ("thumbnail", b"jpeg", True),
        ("thumbnail", b"jpe", False),
        ("thumbnail", "jpeg", False),
        ("label", "another", True),  # the check sum does not cover it: it may change
        *[(place, None, False) for place in PLACES[:-1]],
        *[(place, b"bytes", False) for place in PLACES[:-1]],
        ("vector", VECTOR[:-1], False),
        ("vector", "a" * WIDTH, False),
        ("scale", 1, False),
        ("name", "b.jpg", False),
    ],
)
def test_a_whole_example_is_sound_or_not(place: str, value: Any, sound: bool) -> None:
    values = [1, "cup", VECTOR, 0.5, "ab" * 32, "a.jpg", "now", 1, None]
    values[PLACES.index(place)] = value
    crc = row_crc(VECTOR, 0.5, "ab" * 32, "a.jpg", "now")
    assert is_sound(values, WIDTH, crc, zlib.crc32(b"jpeg")) is sound
