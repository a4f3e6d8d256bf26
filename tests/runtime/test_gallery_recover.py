"""What can be saved of a damaged gallery: all that is still there, nothing that is not, and never over the old file."""

from __future__ import annotations

import random
import shutil
import sqlite3
import zlib
from pathlib import Path

import pytest
from gallery_samples import PRINT, WIDTH, add, held, source, vectors

from tlc_edge.runtime.errors import GalleryError
from tlc_edge.runtime.gallery.gallery import Gallery
from tlc_edge.runtime.gallery.limits import Limits
from tlc_edge.runtime.gallery.pages import carved_examples, carved_thumbnails
from tlc_edge.runtime.gallery.receiver import StoredExample
from tlc_edge.runtime.gallery.recover import Recovery, recover
from tlc_edge.runtime.gallery.transfer import stored

LABELS = ("cup", "pen", "café")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed gallery of 120 examples in three classes, thumbnails on overflow pages, some forgotten."""
    path = tmp_path_factory.mktemp("sound") / "g"
    with Gallery.open(path, PRINT, WIDTH, create=True) as gallery:
        for i in range(120):
            gallery.add(LABELS[i % 3], vectors(str(i)), [source(str(i), bytes([i, 255 - i]) * 3000)])
        add(gallery, "old", "x", "y", "z")
        gallery.forget("old")
    return path


@pytest.fixture
def path(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(sound, tmp_path / "g"))


def examples(path: Path) -> dict[str, StoredExample]:
    with Gallery.open(path, PRINT, WIDTH, read_only=True) as gallery:
        assert gallery.check() == []
        return {e.name: e._replace(id=0) for e in stored(gallery)}


def saved(path: Path) -> tuple[Recovery, dict[str, StoredExample]]:
    before = {p.name: p.read_bytes() for p in path.parent.iterdir()}
    done = recover(path, path.with_name("out"), PRINT, WIDTH)
    found = examples(done.path)
    assert len(found) == done.saved
    done.path.unlink()
    assert {p.name: p.read_bytes() for p in path.parent.iterdir()} == before
    return done, found


def test_a_sound_gallery_is_saved_whole(path: Path, sound: Path) -> None:
    done, found = saved(path)
    assert found == examples(sound)
    assert (done.saved, done.loose, done.without_thumbnail, done.unreadable) == (120, 0, 0, 0)
    assert done.classes == dict.fromkeys(sorted(LABELS), 40)


def test_what_was_never_a_gallery_gives_nothing(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for name, data in (("empty", b""), ("text", b"milk, bread\n" * 5000), ("zeros", bytes(100_000))):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(GalleryError, match=f"{name}: no example can be read any more; nothing was written"):
            recover(tmp_path / name, out, PRINT, WIDTH)
    with pytest.raises(GalleryError, match="absent: no such gallery"):
        recover(tmp_path / "absent", out, PRINT, WIDTH)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["empty", "text", "zeros"]


def test_a_file_that_is_there_is_not_overwritten(path: Path) -> None:
    for out in (path, path.with_name("other")):
        path.with_name("other").write_text("mine")
        before = out.read_bytes()
        with pytest.raises(GalleryError, match="exists already"):
            recover(path, out, PRINT, WIDTH)
        assert out.read_bytes() == before


@pytest.mark.parametrize("kept", [0.4, 0.6, 0.9])
def test_a_torn_file_gives_what_is_in_the_rest(path: Path, sound: Path, kept: float) -> None:
    whole = sound.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept)])
    done, found = saved(path)
    expected = examples(sound)
    for name, example in found.items():
        assert name in expected or example.label == "old"  # a forgotten one may come back from a loose page
        assert example._replace(thumbnail=None) == expected.get(name, example)._replace(thumbnail=None)
        assert example.thumbnail in (None, expected.get(name, example).thumbnail)
    assert len(found) >= 120 * kept * 0.8
    assert done.loose == done.saved or done.loose < 60


def test_a_gallery_without_its_beginning_is_found_page_by_page(path: Path, sound: Path) -> None:
    torn = bytearray(sound.read_bytes())
    torn[:4096] = bytes(4096)
    path.write_bytes(torn)
    with pytest.raises(GalleryError):
        Gallery.open_any(path)
    done, found = saved(path)
    expected = examples(sound)
    assert {n: e for n, e in found.items() if e.label != "old"} == expected
    assert done.loose == done.saved


def test_flipped_bits_cost_no_more_than_the_examples_they_hit(path: Path, sound: Path) -> None:
    whole, expected = sound.read_bytes(), examples(sound)
    rng = random.Random(3)
    for round_ in range(25):
        torn = bytearray(whole)
        for _ in range(10):
            torn[rng.randrange(100, len(whole))] ^= 1 << rng.randrange(8)
        path.write_bytes(torn)
        _, found = saved(path)
        assert len(found) >= 100, round_
        for name, example in found.items():
            if example.label == "old" or name not in expected:
                continue
            # The label is not under the check sum; all else is right or absent.
            assert example._replace(thumbnail=None, label="") == expected[name]._replace(thumbnail=None, label="")
            assert example.thumbnail in (None, expected[name].thumbnail)
        wrong = [n for n, e in found.items() if n in expected and e.label != expected[n].label]
        assert len(wrong) <= 1, round_


def test_a_damaged_label_is_taken_from_the_index(path: Path, sound: Path) -> None:
    torn = sound.read_bytes()
    record = source("5").sha256.encode() + b"5.jpg"
    at = torn.index(record)
    label = torn.rindex("café".encode(), 0, at)
    path.write_bytes(torn[:label] + b"cage" + torn[label + 4 :])
    _, found = saved(path)
    assert found == examples(sound)


def test_what_lies_in_the_log_is_saved_too(tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    folder.mkdir()
    with Gallery.open(tmp_path / "g", PRINT, WIDTH, create=True) as gallery:
        add(gallery, "cup", "a", "b")
        for name in ("g", "g-wal"):
            shutil.copy(tmp_path / name, folder / name)
        expected = held(gallery)
    assert (folder / "g-wal").stat().st_size > 0
    _, found = saved(folder / "g")
    assert [(e.label, e.name.removesuffix(".jpg")) for e in found.values()] == expected


def test_another_models_gallery_keeps_its_own_fingerprint(tmp_path: Path) -> None:
    with Gallery.open(tmp_path / "g", "d" * 64, WIDTH, create=True) as gallery:
        add(gallery, "cup", "a")
    recover(tmp_path / "g", tmp_path / "out", PRINT, WIDTH * 2)
    with Gallery.open(tmp_path / "out", "d" * 64, WIDTH) as gallery:
        assert held(gallery) == [("cup", "a")]


@pytest.mark.parametrize("page_size", [512, 4096, 65536])
def test_pages_are_read_as_sqlite_writes_them(tmp_path: Path, page_size: int) -> None:
    rows = [
        (i, f"label {i}", bytes(range(i % 200 + 1)) * (1 + i), [0.5, 3.0, -1e300][i % 3], 2**31 + i, "s", "n" * i, "t")
        for i in range(1, 90)
    ]
    pictures = {i: bytes([i]) * (i * 700) for i in range(1, 60)}
    db = sqlite3.connect(tmp_path / "x", isolation_level=None)
    db.execute(f"PRAGMA page_size = {page_size}")
    db.execute(
        "CREATE TABLE examples (id INTEGER PRIMARY KEY, label TEXT, vector BLOB, scale REAL, crc INTEGER, "
        "sha TEXT, name TEXT, at TEXT, added_by INTEGER, removed_by INTEGER)"
    )
    db.execute("CREATE TABLE thumbnails (example INTEGER PRIMARY KEY, jpeg BLOB, crc INTEGER)")
    for row in rows:
        db.execute(f"INSERT INTO examples VALUES ({', '.join('?' * 8)}, 1, NULL)", row)
    for number, jpeg in pictures.items():
        db.execute("INSERT INTO thumbnails VALUES (?, ?, ?)", (number, jpeg, zlib.crc32(jpeg)))
    db.close()
    data = (tmp_path / "x").read_bytes()
    found = sorted((v[:4], crc, v[4:], gone, count) for v, crc, gone, count in carved_examples(data))
    assert found == [(r[:4], r[4], r[5:], False, 1) for r in rows]
    assert dict(carved_thumbnails(data)) == pictures


@pytest.mark.parametrize("limits", [None, (50, 400), (0, 0)])
def test_limits_hold_on_and_merge_nothing_while_it_is_saved(path: Path, limits: tuple[int, int] | None) -> None:
    if limits is not None:
        with Gallery.open(path, PRINT, WIDTH) as gallery:
            gallery.limit(Limits(*limits))
    with Gallery.open(path, PRINT, WIDTH, read_only=True) as gallery:
        before = gallery.limits()
    done = recover(path, path.with_name("out"), PRINT, WIDTH)
    with Gallery.open(done.path, PRINT, WIDTH, read_only=True) as gallery:
        assert gallery.limits() == before
        assert gallery.classes() == {"cup": 40, "pen": 40, "café": 40}
