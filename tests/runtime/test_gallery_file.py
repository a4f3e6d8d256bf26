"""The gallery as a file: what opening refuses, several users at once, and the frozen format."""

from __future__ import annotations

import multiprocessing
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from gallery_samples import PRINT, WIDTH, add, held

from tlc_edge.runtime.errors import FingerprintError, GalleryError
from tlc_edge.runtime.gallery import schema as gallery_schema
from tlc_edge.runtime.gallery.gallery import Gallery
from tlc_edge.runtime.gallery.limits import Limits

spawn = multiprocessing.get_context("spawn")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "device.gallery"


@pytest.fixture
def gallery(path: Path) -> Iterator[Gallery]:
    with Gallery.open(path, PRINT, WIDTH, create=True) as opened:
        yield opened


def test_data_version_moves_with_ones_own_changes_and_rests_without(gallery: Gallery) -> None:
    before = gallery.data_version()
    gallery.load()
    assert gallery.data_version() == before
    add(gallery, "cup", "a")
    assert gallery.data_version() != before


def _add_in_child(path: Path, label: str, keys: list[str]) -> None:
    with Gallery.open(path, PRINT, WIDTH, create=True) as gallery:
        for key in keys:
            add(gallery, label, key)


def test_a_reader_notices_what_another_process_wrote(gallery: Gallery) -> None:
    add(gallery, "cup", "a")
    with Gallery.open(gallery.path, PRINT, WIDTH, read_only=True) as reader:
        before = reader.data_version()
        assert reader.data_version() == before
        child = spawn.Process(target=_add_in_child, args=(gallery.path, "pen", ["b"]))
        child.start()
        child.join()
        assert child.exitcode == 0
        assert reader.data_version() != before
        assert reader.load().labels == ("cup", "pen")
        assert gallery.classes() == {"cup": 1, "pen": 1}
        # The count kept from before must not be taken for the count of now.
        assert add(gallery, "cup", "c").classes == {"cup": 2, "pen": 1}


def test_writers_in_two_processes_lose_nothing_and_make_the_file_once(path: Path) -> None:
    keys = {label: [f"{label}{i}" for i in range(30)] for label in ("cup", "pen")}
    children = [spawn.Process(target=_add_in_child, args=(path, label, keys[label])) for label in keys]
    for child in children:
        child.start()
    for child in children:
        child.join()
        assert child.exitcode == 0
    with Gallery.open(path, PRINT, WIDTH) as gallery:
        assert sorted(held(gallery)) == sorted((label, key) for label in keys for key in keys[label])
        assert gallery.check() == []


def test_threads_may_share_one_gallery(gallery: Gallery) -> None:
    threads = [
        threading.Thread(target=lambda t=t: [add(gallery, f"c{t}", f"{t}-{i}") for i in range(20)]) for t in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert gallery.classes() == {f"c{t}": 20 for t in range(4)}
    assert add(gallery, "c0", "more").classes["c0"] == 21


def test_a_reader_does_not_keep_a_writer_from_closing(gallery: Gallery) -> None:
    add(gallery, "cup", "a")
    with Gallery.open(gallery.path, PRINT, WIDTH, read_only=True) as reader:
        gallery.close()
        assert reader.classes() == {"cup": 1}


def test_one_file_is_left_after_closing_and_a_copy_of_it_is_whole(gallery: Gallery, tmp_path: Path) -> None:
    add(gallery, "cup", "a")
    gallery.close()
    assert [p.name for p in tmp_path.iterdir()] == [gallery.path.name]
    copy = tmp_path / "copy.gallery"
    copy.write_bytes(gallery.path.read_bytes())
    with Gallery.open(copy, PRINT, WIDTH, read_only=True) as again:
        assert held(again) == [("cup", "a")]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["copy.gallery", gallery.path.name]


# Opening


def test_where_nothing_was_enrolled_no_file_appears(path: Path, tmp_path: Path) -> None:
    assert Gallery.open_if_exists(path, PRINT, WIDTH) is None
    with pytest.raises(GalleryError, match="no such gallery"):
        Gallery.open(path, PRINT, WIDTH)
    with pytest.raises(GalleryError, match="no such gallery"):
        Gallery.open(path, PRINT, WIDTH, create=True, read_only=True)
    assert list(tmp_path.iterdir()) == []


def test_open_if_exists_opens_what_exists(gallery: Gallery) -> None:
    add(gallery, "cup", "a")
    found = Gallery.open_if_exists(gallery.path, PRINT, WIDTH)
    assert found is not None
    with found:
        assert held(found) == [("cup", "a")]


@pytest.mark.parametrize("kind", ["empty", "header only"])
def test_a_file_whose_making_was_cut_off_is_finished(path: Path, kind: str) -> None:
    path.touch()
    if kind == "header only":
        db = sqlite3.connect(path)
        db.execute("PRAGMA journal_mode = WAL")
        db.close()
        assert path.stat().st_size > 0
    assert Gallery.open_if_exists(path, PRINT, WIDTH) is None
    with pytest.raises(GalleryError, match="is empty"):
        Gallery.open(path, PRINT, WIDTH, read_only=True)
    with Gallery.open(path, PRINT, WIDTH) as gallery:
        add(gallery, "cup", "a")
    with Gallery.open(path, PRINT, WIDTH) as gallery:
        assert held(gallery) == [("cup", "a")]


def test_another_fingerprint_is_refused_with_the_command_that_migrates(gallery: Gallery) -> None:
    add(gallery, "cup", "a")
    gallery.close()
    before = gallery.path.read_bytes()
    other = "f" * 64
    with pytest.raises(FingerprintError, match=f"{PRINT[:12]}.*{other[:12]}.*`tlc gallery migrate`"):
        Gallery.open(gallery.path, other, WIDTH)
    with pytest.raises(FingerprintError):
        Gallery.open_if_exists(gallery.path, other, WIDTH)
    assert gallery.path.read_bytes() == before
    with Gallery.open_any(gallery.path) as found:
        assert (found.fingerprint, found.width, held(found)) == (PRINT, WIDTH, [("cup", "a")])


def test_another_width_is_refused(gallery: Gallery) -> None:
    gallery.close()
    with pytest.raises(GalleryError, match=r"have width 8, the bundle's 16"):
        Gallery.open(gallery.path, PRINT, 16)


def test_reading_only_cannot_change_anything(gallery: Gallery) -> None:
    add(gallery, "cup", "a")
    with Gallery.open(gallery.path, PRINT, WIDTH, read_only=True) as reader:
        for change in (lambda: add(reader, "cup", "b"), lambda: reader.forget("cup"), reader.undo):
            with pytest.raises(GalleryError, match="reading only"):
                change()
        assert held(reader) == [("cup", "a")]


def test_a_closed_gallery_says_so_and_may_be_closed_again(gallery: Gallery) -> None:
    gallery.close()
    gallery.close()
    for use in (gallery.classes, gallery.undo, gallery.load):
        with pytest.raises(GalleryError, match="is closed"):
            use()


def test_a_gallery_replaced_while_open_takes_no_more_examples(gallery: Gallery, tmp_path: Path) -> None:
    add(gallery, "cup", "a")
    with Gallery.open(tmp_path / "new", PRINT, WIDTH, create=True) as new:
        add(new, "pen", "b")
    (tmp_path / "new").replace(gallery.path)
    with pytest.raises(GalleryError, match="moved or replaced"):
        add(gallery, "cup", "c")


# The format, frozen

FROZEN_TABLES = {
    "meta": "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    "operations": (
        "CREATE TABLE operations (id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, "
        "label TEXT NOT NULL, detail TEXT NOT NULL DEFAULT '{}', at TEXT NOT NULL, "
        "undone INTEGER NOT NULL DEFAULT 0 CHECK (undone IN (0, 1)))"
    ),
    "examples": (
        "CREATE TABLE examples (id INTEGER PRIMARY KEY AUTOINCREMENT, label TEXT NOT NULL, "
        "vector BLOB NOT NULL, scale REAL NOT NULL, crc INTEGER NOT NULL, source_sha256 TEXT NOT NULL, "
        "source_name TEXT NOT NULL, at TEXT NOT NULL, added_by INTEGER NOT NULL REFERENCES operations (id), "
        "removed_by INTEGER REFERENCES operations (id))"
    ),
    "thumbnails": (
        "CREATE TABLE thumbnails (example INTEGER PRIMARY KEY REFERENCES examples (id) ON DELETE CASCADE, "
        "jpeg BLOB NOT NULL, crc INTEGER NOT NULL)"
    ),
    "relabelled": (
        "CREATE TABLE relabelled (example INTEGER NOT NULL REFERENCES examples (id) ON DELETE CASCADE, "
        "operation INTEGER NOT NULL REFERENCES operations (id), label TEXT NOT NULL, "
        "PRIMARY KEY (example, operation)) WITHOUT ROWID"
    ),
}
FROZEN_INDEXES = {
    "examples_live": ("CREATE UNIQUE INDEX examples_live ON examples (label, source_sha256) WHERE removed_by IS NULL"),
    "examples_removed": "CREATE INDEX examples_removed ON examples (removed_by) WHERE removed_by IS NOT NULL",
    "examples_added": "CREATE INDEX examples_added ON examples (added_by)",
    "relabelled_operation": "CREATE INDEX relabelled_operation ON relabelled (operation)",
}
SECOND_VERSION = "ALTER TABLE examples ADD COLUMN stands_for INTEGER NOT NULL DEFAULT 1"
THIRD_VERSION = {
    "merged": (
        "CREATE TABLE merged (sha256 BLOB NOT NULL, "
        "example INTEGER NOT NULL REFERENCES examples (id) ON DELETE CASCADE, "
        "PRIMARY KEY (sha256, example)) WITHOUT ROWID"
    ),
    "merged_example": "CREATE INDEX merged_example ON merged (example)",
    "examples_image": "CREATE INDEX examples_image ON examples (source_sha256) WHERE removed_by IS NULL",
}
# Two cups and a pen; the second cup was forgotten again. Check sums written out as the format has them.
FROZEN_ROWS = f"""
INSERT INTO meta VALUES ('created', '2025-01-02T03:04:05+00:00');
INSERT INTO meta VALUES ('fingerprint', '{PRINT}');
INSERT INTO meta VALUES ('rewrites', '1');
INSERT INTO meta VALUES ('width', '4');
INSERT INTO operations VALUES (1, 'add', 'cup', '{{}}', '2025-01-02T03:04:05+00:00', 0);
INSERT INTO operations VALUES (2, 'add', 'pen', '{{}}', '2025-01-02T03:04:06+00:00', 0);
INSERT INTO operations VALUES (3, 'rename', 'pen', '{{"from": "quill"}}', '2025-01-02T03:04:07+00:00', 1);
INSERT INTO operations VALUES (4, 'forget', 'mug', '{{}}', '2025-01-02T03:04:08+00:00', 0);
INSERT INTO examples VALUES (1, 'cup', x'7f008101', 0.5, {0x16EB2ACA}, '{"1" * 64}', 'a.jpg',
  '2025-01-02T03:04:05+00:00', 1, NULL);
INSERT INTO examples VALUES (2, 'mug', x'01027f04', 0.25, {0x475D4D65}, '{"2" * 64}', 'b.jpg',
  '2025-01-02T03:04:05+00:00', 1, 4);
INSERT INTO examples VALUES (3, 'pen', x'8101ff7f', 2.0, {0xFE2BA20B}, '{"3" * 64}', 'c.jpg',
  '2025-01-02T03:04:06+00:00', 2, NULL);
INSERT INTO thumbnails VALUES (1, x'ffd8ffd9', {0x10F02A67});
PRAGMA application_id = 1953260359;
PRAGMA user_version = 1;
"""


@pytest.fixture
def frozen(path: Path) -> Path:
    """A gallery as the first version wrote it, made without the code under test."""
    db = sqlite3.connect(path)
    db.execute("PRAGMA journal_mode = WAL")
    for statement in (*FROZEN_TABLES.values(), *FROZEN_INDEXES.values()):
        db.execute(statement)
    db.executescript(FROZEN_ROWS)
    db.close()
    return path


def test_a_new_gallery_has_exactly_the_frozen_format(gallery: Gallery) -> None:
    db = sqlite3.connect(gallery.path)
    made = dict(db.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name <> 'sqlite_sequence'"))
    numbers = [db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")]
    mode = db.execute("PRAGMA journal_mode").fetchone()[0]
    meta = dict(db.execute("SELECT key, value FROM meta"))
    db.close()
    examples = FROZEN_TABLES["examples"].removesuffix(")") + ", stands_for INTEGER NOT NULL DEFAULT 1)"
    assert made == FROZEN_TABLES | FROZEN_INDEXES | {"examples": examples} | THIRD_VERSION
    assert gallery_schema.MIGRATIONS[1:] == ((SECOND_VERSION,), tuple(THIRD_VERSION.values()))
    assert numbers == [0x746C6347, 3]
    assert mode == "wal"
    assert meta.pop("created").endswith("+00:00")
    assert meta == {"fingerprint": PRINT, "width": str(WIDTH), "rewrites": "0"}


def test_a_gallery_of_the_first_version_reads_right(frozen: Path) -> None:
    with Gallery.open(frozen, PRINT, 4) as gallery:
        assert gallery.check() == []
        rows = gallery.load()
        assert (rows.ids.tolist(), rows.labels, rows.rewrites) == ([1, 3], ("cup", "pen"), 1)
        assert rows.vectors.tolist() == [[127, 0, -127, 1], [-127, 1, -1, 127]]
        assert rows.scales.tolist() == [0.5, 2.0]
        assert gallery.thumbnail(1) == b"\xff\xd8\xff\xd9"
        first = gallery.examples()[0]
        assert (first.source_name, first.sha256, first.at) == ("a.jpg", "1" * 64, "2025-01-02T03:04:05+00:00")
        assert (gallery.undo().label, gallery.classes()) == ("mug", {"cup": 1, "mug": 1, "pen": 1})
        assert (gallery.undo().label, gallery.classes()) == ("pen", {"cup": 1, "mug": 1})


def test_a_gallery_of_the_first_version_is_read_without_touching_it(frozen: Path) -> None:
    before = frozen.read_bytes()
    with Gallery.open(frozen, PRINT, 4, read_only=True) as gallery:
        assert (gallery.check(), gallery.classes()) == ([], {"cup": 1, "pen": 1})
        assert gallery.load().labels == ("cup", "pen")
    assert frozen.read_bytes() == before
    with Gallery.open(frozen, PRINT, 4) as gallery:
        assert gallery.limits() == Limits()
    assert frozen.read_bytes() != before


def test_an_older_version_is_upgraded_in_one_piece(frozen: Path) -> None:
    later = (*gallery_schema.MIGRATIONS, ("CREATE TABLE places (id INTEGER PRIMARY KEY)",))
    broken = (*later, ("CREATE TABLE more (id INTEGER)", "no such statement"))
    db = sqlite3.connect(frozen, isolation_level=None)

    def state() -> tuple[int, bool]:
        tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master")}
        return db.execute("PRAGMA user_version").fetchone()[0], bool(tables & {"places", "more"})

    with pytest.raises(sqlite3.OperationalError):
        gallery_schema.upgrade(db, frozen, {}, broken)
    assert state() == (1, False)
    gallery_schema.upgrade(db, frozen, {}, later)
    assert state() == (4, True)
    assert db.execute("SELECT count(*) FROM meta").fetchone() == (4,)
    db.close()
    with pytest.raises(GalleryError, match="version 4, this tlc knows 1 to 3; upgrade tlc"):
        Gallery.open(frozen, PRINT, 4)
