"""Galleries from strangers: tables that tlc did not make, rows that make no sense, and what recover makes of them."""

from __future__ import annotations

import contextlib
import sqlite3
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tlc_edge.runtime.errors import GalleryError, TlcError
from tlc_edge.runtime.gallery.file import LEAST_PORTIONS
from tlc_edge.runtime.gallery.gallery import Gallery
from tlc_edge.runtime.gallery.limits import Limits
from tlc_edge.runtime.gallery.records import ExampleSource
from tlc_edge.runtime.gallery.recover import recover

FINGERPRINT, WIDTH = "ab" * 32, 4


def taught(path: Path) -> Path:
    with Gallery.open(path, FINGERPRINT, WIDTH, create=True) as gallery:
        for label, first in (("cup", 0), ("mug", 3)):
            vectors = np.eye(4, dtype=np.float32)[[0, 1, 2]] + first
            gallery.add(label, vectors, [ExampleSource(f"{first + i:064x}", f"{i}.jpg", None) for i in range(3)])
        gallery.forget("mug")
        gallery.undo()
    return path


def changed(path: Path, *statements: str) -> Path:
    with contextlib.closing(sqlite3.connect(taught(path))) as db:
        for statement in ("PRAGMA foreign_keys = OFF", *statements):
            db.execute(statement)
        db.commit()
    return path


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TRIGGER t AFTER INSERT ON examples BEGIN DELETE FROM examples; END",
        "CREATE VIEW v AS SELECT 1",
        "CREATE TABLE mine (a)",
        "CREATE INDEX mine ON examples (at)",
        "ALTER TABLE examples ADD COLUMN more TEXT",
        "DROP TABLE thumbnails",
        "DROP INDEX examples_live",
        "ALTER TABLE meta RENAME TO mate",
    ],
)
@pytest.mark.parametrize("read_only", [True, False])
def test_tables_that_are_not_a_gallerys_are_refused(tmp_path: Path, statement: str, read_only: bool) -> None:
    path = changed(tmp_path / "g", statement)
    if read_only and "TRIGGER" in statement:  # it runs for nobody who reads
        with Gallery.open(path, FINGERPRINT, WIDTH, read_only=True) as gallery:
            assert gallery.check() == ["a trigger 't' is there, which no gallery has"]
        return
    with pytest.raises(GalleryError, match=r"(which no gallery has|of a gallery), so it is damaged or was made to do"):
        Gallery.open(path, FINGERPRINT, WIDTH, read_only=read_only)


@pytest.mark.parametrize(
    "made", ["TRIGGER mine AFTER INSERT ON examples BEGIN SELECT 1; END", "INDEX mine ON examples (lower(label))"]
)
def test_a_name_as_of_sqlites_own_hides_nothing(tmp_path: Path, made: str) -> None:
    renamed = "UPDATE sqlite_master SET name = 'sqlite_mine', sql = replace(sql, 'mine', 'sqlite_mine')"
    tables = (f"CREATE {made}", "PRAGMA writable_schema = ON", f"{renamed} WHERE name = 'mine'")
    with pytest.raises(GalleryError, match="'sqlite_mine', which no gallery has"):
        Gallery.open(changed(tmp_path / "g", *tables), FINGERPRINT, WIDTH)


def test_what_sqlite_keeps_for_itself_is_taken(tmp_path: Path) -> None:
    path = changed(tmp_path / "g", "ANALYZE")
    with Gallery.open(path, FINGERPRINT, WIDTH) as gallery:
        assert gallery.classes() == {"cup": 3, "mug": 3}


ENDLESS = (
    "ALTER TABLE examples RENAME TO e2",
    "CREATE VIEW examples AS WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x AS id, 'm' AS "
    "label, zeroblob(4) AS vector, 1.0 AS scale, 0 AS crc, hex(x) AS source_sha256, 'n' AS source_name, 't' AS at, "
    "1 AS added_by, NULL AS removed_by, 1 AS stands_for FROM c",
)


@pytest.mark.parametrize(
    "statements",
    [
        ("DELETE FROM meta",),
        ("DELETE FROM meta WHERE key = 'fingerprint'",),
        ("UPDATE meta SET value = 'many' WHERE key = 'width'",),
        ("UPDATE meta SET value = '-3' WHERE key = 'width'",),
        ("DELETE FROM sqlite_sequence",),
        ("UPDATE sqlite_sequence SET seq = 1099511627776",),
        ("UPDATE sqlite_sequence SET seq = 'x'",),
        ("DROP TABLE operations",),
        ("DROP TABLE meta",),
        ("DROP TABLE thumbnails",),
        ("DROP INDEX examples_live",),
        ("UPDATE examples SET id = 4611686018427387000 WHERE id = 3",),
        ENDLESS,
    ],
)
def test_recover_saves_all_that_is_readable_and_ends(tmp_path: Path, statements: tuple[str, ...]) -> None:
    path = changed(tmp_path / "g", *statements)
    saved = recover(path, tmp_path / "out", FINGERPRINT, WIDTH)
    assert saved.classes == {"cup": 3, "mug": 3}
    with Gallery.open(tmp_path / "out", FINGERPRINT, WIDTH) as gallery:
        assert gallery.check() == []


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE examples SET vector = 'text' WHERE id = 2",
        "UPDATE examples SET vector = x'00' WHERE id = 2",
        "UPDATE examples SET scale = 'much' WHERE id = 2",
        "UPDATE examples SET label = x'ff' WHERE id = 2",
        "UPDATE examples SET stands_for = 'all' WHERE id = 2",
        "UPDATE operations SET detail = '{\"gone\": [1]}'",
        'UPDATE operations SET detail = \'{"limits": ["a"]}\'',
        "UPDATE operations SET detail = '[]'",
        "UPDATE operations SET detail = '{\"gone\": [[1, {}]]}'",
        "DELETE FROM meta WHERE key = 'rewrites'",
        "UPDATE meta SET value = 'x' WHERE key IN ('rewrites', 'per_class')",
        "UPDATE examples SET source_name = x'00ff' WHERE id = 1",
    ],
)
def test_rows_that_make_no_sense_are_met_with_a_sentence(tmp_path: Path, statement: str) -> None:
    path = changed(tmp_path / "g", statement)
    with Gallery.open(path, FINGERPRINT, WIDTH) as gallery:
        for act in (gallery.load, gallery.examples, gallery.classes, gallery.check, gallery.undo, gallery.undo):
            with contextlib.suppress(TlcError):
                act()
        with contextlib.suppress(TlcError):
            gallery.forget("cup")


@pytest.mark.parametrize("width", ["0", "-3", "1000000000000000000", "many"])
def test_a_width_that_no_embedding_has_is_told(tmp_path: Path, width: str) -> None:
    path = changed(tmp_path / "g", f"UPDATE meta SET value = '{width}' WHERE key = 'width'")
    with pytest.raises(GalleryError, match="no fingerprint or width in it"):
        Gallery.open_any(path)


def endless(path: Path, table: str = "examples", depth: int = 12, fan: int = 40) -> Path:
    """Join a table's page to itself over pages of pages: three rows become fan to the power of depth."""
    taught(path)
    with contextlib.closing(sqlite3.connect(path)) as db:
        (root,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()
    data = bytearray(path.read_bytes())
    size = int.from_bytes(data[16:18], "big")
    first, span = len(data) // size + 1, slice((root - 1) * size, root * size)
    pages = [bytes(data[span])]
    for number in range(first, first + depth):
        page, at = bytearray(size), size
        page[0], page[3:5], page[8:12] = 5, struct.pack(">H", fan), struct.pack(">I", number)
        for i in range(fan):
            at -= 5
            page[at : at + 5] = struct.pack(">IB", number, i + 1)
            page[12 + 2 * i : 14 + 2 * i] = struct.pack(">H", at)
        page[5:7] = struct.pack(">H", at)
        pages.append(bytes(page))
    data[span] = pages.pop()
    data += b"".join(pages)
    data[28:32] = struct.pack(">I", len(data) // size)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("act", [Gallery.load, Gallery.examples])
def test_pages_that_hold_rows_without_end_are_given_up(tmp_path: Path, act: Callable[[Gallery], Any]) -> None:
    with (
        Gallery.open(endless(tmp_path / "g"), FINGERPRINT, WIDTH) as gallery,
        pytest.raises(GalleryError, match=r"more steps than a gallery of its size can need|damaged"),
    ):
        act(gallery)


def test_changes_end_on_pages_without_end(tmp_path: Path) -> None:
    with Gallery.open(endless(tmp_path / "g"), FINGERPRINT, WIDTH) as gallery:
        for act in (lambda: gallery.forget("cup"), gallery.undo, lambda: gallery.rename("mug", "cup"), gallery.check):
            with contextlib.suppress(GalleryError):
                act()


def test_recover_ends_on_pages_without_end(tmp_path: Path) -> None:
    saved = recover(endless(tmp_path / "g"), tmp_path / "out", FINGERPRINT, WIDTH)
    assert saved.classes == {"cup": 3, "mug": 3}


def test_a_gallery_of_many_rows_is_within_the_bounds(tmp_path: Path) -> None:
    """The smallest rows there are: the fewest bytes, and so the fewest steps, for each."""
    count = 20_000
    assert 300 * count > LEAST_PORTIONS * 100_000  # so it is the share for bytes that is tried too
    with Gallery.open(tmp_path / "g", FINGERPRINT, WIDTH, create=True) as gallery:
        gallery.limit(Limits(0, 0))
        vectors = np.random.default_rng(0).normal(size=(count, WIDTH)).astype(np.float32)
        gallery.add("cup", vectors, [ExampleSource(f"{i:064x}", "", None) for i in range(count)])
        gallery.rename("cup", "mug")
        assert gallery.check() == []
        gallery.undo()
        assert gallery.forget("cup").removed == count
        assert gallery.undo().added == count
        assert len(gallery.load().ids) == count
