"""What a gallery must survive: kills, torn and flipped bytes, full, failing and read-only disks."""

from __future__ import annotations

import os
import random
import resource
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from gallery_samples import PRINT, WIDTH, add, digest, held, source, vectors
from killed import Killed, moments

from tlc_edge.runtime.errors import GalleryError, TlcError
from tlc_edge.runtime.gallery.compact import compact
from tlc_edge.runtime.gallery.gallery import Gallery
from tlc_edge.runtime.gallery.recover import recover
from tlc_edge.runtime.gallery.transfer import export

KILLS = [20, pytest.param(200, marks=pytest.mark.slow)]

# Enrolls for ever; a line is the number of an example whose `add` has returned.
ENROLL = """
import sys
from gallery_samples import PRINT, WIDTH, source, vectors
from tlc_edge.runtime.gallery.gallery import Gallery; from tlc_edge.runtime.gallery.limits import Limits
with Gallery.open(sys.argv[1], PRINT, WIDTH, create=True) as gallery:
    number = int(sys.argv[2])
    gallery.limit(Limits(0, 0))
    print("ready", flush=True)
    while True:
        gallery.add(f"c{number % 3}", vectors(str(number)), [source(str(number), b"jpeg" * 500)])
        print(number, flush=True)
        number += 1
"""

# Does everything for ever, beside a model of its own; lines are `try` and `done` with the digest of
# the examples that the model expects after the operation.
MIXED = """
import random, sys
from gallery_samples import PRINT, WIDTH, add, digest, held
from tlc_edge.runtime.gallery.records import KEEP_OPERATIONS; from tlc_edge.runtime.gallery.gallery import Gallery
rng = random.Random(int(sys.argv[2]))
gallery = Gallery.open(sys.argv[1], PRINT, WIDTH, create=True)
now, past, count = sorted(held(gallery)), [], 0
print("done", digest(now), flush=True)
while True:
    if rng.random() < 0.1:
        gallery.close()
        gallery = Gallery.open(sys.argv[1], PRINT, WIDTH)
    labels = sorted({label for label, _ in now})
    kind = rng.choice(["add", "add", "forget", "rename", "undo"])
    old, new = rng.choice(labels or ["c0"]), f"c{rng.randrange(9)}"
    if kind == "add":
        keys = [f"{rng.random()}" for _ in range(3)]
        then, call = now + [(new, key) for key in keys], lambda: add(gallery, new, *keys)
    elif kind == "forget" and labels:
        then, call = [e for e in now if e[0] != old], lambda: gallery.forget(old)
    elif kind == "rename" and labels and new != old:
        then = {(new, key) if label == old else (label, key) for label, key in now}
        call = lambda: gallery.rename(old, new, merge=True)
    elif kind == "undo" and past and past[-1][0] > count - KEEP_OPERATIONS:
        then, call = past.pop()[1], gallery.undo
    else:
        continue
    if kind != "undo":
        count += 1
        past.append((count, now))
    now = sorted(then)
    print("try", digest(now), flush=True)
    call()
    print("done", digest(now), flush=True)
"""

# Makes one gallery after another.
CREATE = """
import itertools, sys
from gallery_samples import PRINT, WIDTH, add
from tlc_edge.runtime.gallery.gallery import Gallery
print("ready", flush=True)
for number in itertools.count(int(sys.argv[2])):
    with Gallery.open(f"{sys.argv[1]}/{number}", PRINT, WIDTH, create=True) as gallery:
        print(number, flush=True)
"""


@pytest.mark.parametrize("kills", KILLS)
def test_killed_while_enrolling_nothing_acknowledged_is_lost(tmp_path: Path, kills: int, killed: Killed) -> None:
    path, number = tmp_path / "g", 0
    events = killed.events(ENROLL, tmp_path / "undisturbed", 0, lines=30)
    for at in moments(random.Random(kills), kills, events):
        lines = killed(ENROLL, path, number, at=at)
        acknowledged = range(number + len(lines) - 1)
        with Gallery.open(path, PRINT, WIDTH) as gallery:
            assert gallery.check() == []
            keys = [key for _, key in held(gallery)]
            # All that was acknowledged, and at most the one that was under way.
            assert keys in ([str(i) for i in acknowledged], [str(i) for i in range(len(acknowledged) + 1)])
            number = len(keys)
    with Gallery.open(path, PRINT, WIDTH) as gallery:
        rows = gallery.load()
        expected = vectors(*map(str, range(number)))
        assert number > kills
        assert np.abs(rows.vectors * rows.scales[:, None] - expected).max() < 0.02
        assert gallery.thumbnail(int(rows.ids[-1])) == b"jpeg" * 500


@pytest.mark.parametrize("kills", KILLS)
def test_killed_amid_forget_rename_and_undo_it_is_before_or_after(tmp_path: Path, kills: int, killed: Killed) -> None:
    path, lines = tmp_path / "g", 0
    events = killed.events(MIXED, tmp_path / "undisturbed", 0, lines=60)
    for round_, at in enumerate(moments(random.Random(kills), kills, events)):
        said = killed(MIXED, path, round_, at=at)
        lines += len(said)
        last = said[-1].split()
        done = [line.split()[1] for line in said if line.startswith("done")][-1]
        with Gallery.open(path, PRINT, WIDTH) as gallery:
            assert gallery.check() == []
            assert digest(held(gallery)) in {done, last[1]}
    assert lines > kills


@pytest.mark.parametrize("kills", KILLS)
def test_killed_while_being_made_a_gallery_is_absent_or_usable(tmp_path: Path, kills: int, killed: Killed) -> None:
    number, states = 0, set()
    (tmp_path / "undisturbed").mkdir()
    events = killed.events(CREATE, tmp_path / "undisturbed", 0, lines=4)
    for at in moments(random.Random(kills), kills, events):
        said = killed(CREATE, tmp_path, number, at=at)
        number += len(said) - 1
        cut_off = tmp_path / str(number)
        opened = Gallery.open_if_exists(cut_off, PRINT, WIDTH)
        states.add(opened is None)
        if opened is not None:
            opened.close()
        with Gallery.open(cut_off, PRINT, WIDTH, create=True) as gallery:
            add(gallery, "cup", "a")
            assert gallery.check() == []
        with Gallery.open(cut_off, PRINT, WIDTH) as gallery:
            assert held(gallery) == [("cup", "a")]
        number += 1
    # Of four galleries' making so many moments: some before there is a file, some when it can be used.
    assert states == {True, False}


# Damage


@pytest.fixture
def full(tmp_path: Path) -> Path:
    """A closed gallery of some 20 pages, with a bit of everything in it."""
    path = tmp_path / "full.gallery"
    with Gallery.open(path, PRINT, WIDTH, create=True) as gallery:
        for i in range(60):
            gallery.add(f"c{i % 4}", vectors(str(i)), [source(str(i), bytes([i]) * 300)])
        gallery.rename("c0", "c1", merge=True)
        gallery.forget("c2")
    return path


def contents(gallery: Gallery) -> object:
    rows = gallery.load()
    examples = gallery.examples()
    return (
        rows.ids.tolist(), rows.labels, rows.vectors.tolist(), rows.scales.tolist(),
        examples, [gallery.thumbnail(e.id) for e in examples], gallery.classes(),
    )  # fmt: skip


def reading(path: Path) -> object:
    with Gallery.open(path, PRINT, WIDTH, read_only=True) as gallery:
        return contents(gallery)


def test_files_that_are_no_gallery_are_refused_and_left_alone(tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    db = sqlite3.connect(other)
    db.execute("CREATE TABLE songs (name TEXT)")
    db.close()
    text = tmp_path / "notes.txt"
    text.write_text("milk, bread\n")
    long_text = tmp_path / "long.txt"
    long_text.write_text("milk, bread\n" * 1000)
    for path in (other, text, long_text):
        before = path.read_bytes()
        for create in (False, True):
            with pytest.raises(GalleryError, match=f"{path.name}: .*not a tlc gallery"):
                Gallery.open(path, PRINT, WIDTH, create=create)
        with pytest.raises(GalleryError):
            Gallery.open_if_exists(path, PRINT, WIDTH)
        assert path.read_bytes() == before
    with pytest.raises(GalleryError, match="not a file"):
        Gallery.open(tmp_path, PRINT, WIDTH, create=True)
    with pytest.raises(GalleryError, match="no such folder"):
        Gallery.open(tmp_path / "absent" / "g", PRINT, WIDTH, create=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["long.txt", "notes.txt", "other.db"]


@pytest.mark.parametrize(
    ("version", "says"),
    [
        (7, "version 7, this tlc knows 1 to 3; upgrade tlc"),
        (0, "version 0, which none has, so it is damaged; save what is readable"),
        (-3, "version -3, which none has, so it is damaged; save what is readable"),
    ],
)
def test_a_version_that_is_not_known_is_refused_and_left_alone(full: Path, version: int, says: str) -> None:
    db = sqlite3.connect(full)
    db.execute(f"PRAGMA user_version = {version}")
    db.close()
    before = full.read_bytes()
    with pytest.raises(GalleryError, match=says):
        Gallery.open(full, PRINT, WIDTH, create=True)
    assert full.read_bytes() == before


def test_a_gallery_without_its_fingerprint_is_damaged(full: Path) -> None:
    db = sqlite3.connect(full)
    with db:
        db.execute("DELETE FROM meta WHERE key = 'width'")
    db.close()
    with pytest.raises(GalleryError, match="damaged"):
        Gallery.open(full, PRINT, WIDTH)


def test_a_torn_file_is_noticed_and_left_alone(full: Path) -> None:
    whole, expected = full.read_bytes(), reading(full)
    noticed = 0
    lengths = (1, 15, 16, 50, 99, 100, 511, 4095, 4096, 8192, len(whole) - 4096, len(whole) - 1)
    for length in lengths:
        full.write_bytes(whole[:length])
        try:
            with Gallery.open(full, PRINT, WIDTH) as gallery:
                # A byte that was zero anyway is no loss.
                assert gallery.check() or contents(gallery) == expected, length
        except GalleryError:
            noticed += 1
        assert full.read_bytes() == whole[:length]
    assert noticed >= len(lengths) - 1


def test_a_flipped_bit_in_the_header_never_gives_other_examples(full: Path) -> None:
    whole, expected = full.read_bytes(), reading(full)
    refused = 0
    for bit in range(800):
        torn = bytearray(whole)
        torn[bit // 8] ^= 1 << bit % 8
        full.write_bytes(torn)
        try:
            assert reading(full) == expected, f"bit {bit}"
        except GalleryError:
            refused += 1
        assert full.read_bytes() == torn
    assert refused > 200


def test_flipped_bits_anywhere_are_refused_or_found_by_check(full: Path) -> None:
    whole, expected = full.read_bytes(), reading(full)
    rng, found = random.Random(1), 0
    for _ in range(300):
        torn = bytearray(whole)
        at = rng.randrange(100, len(whole))
        torn[at] ^= 1 << rng.randrange(8)
        full.write_bytes(torn)
        try:
            with Gallery.open(full, PRINT, WIDTH, read_only=True) as gallery:
                wrong = gallery.check()
                found += bool(wrong)
                assert wrong or contents(gallery) == expected, f"byte {at}"
        except GalleryError:
            found += 1
    assert found > 100


def test_a_damaged_file_raises_nothing_but_our_errors(full: Path) -> None:
    whole = full.read_bytes()
    rng, raised = random.Random(2), 0
    for _ in range(100):
        torn = bytearray(whole)
        for _ in range(30):
            torn[rng.randrange(len(whole))] = rng.randrange(256)
        torn[:100] = whole[:100]
        full.write_bytes(torn)
        for use in (
            contents,
            lambda g: add(g, "c1", "new"),
            lambda g: g.forget("c1"),
            Gallery.undo,
            Gallery.check,
        ):
            try:
                with Gallery.open(full, PRINT, WIDTH) as gallery:
                    use(gallery)
            except TlcError:
                raised += 1
    assert raised > 50


def test_a_torn_log_leaves_what_was_enrolled_before_the_tear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As a reader leaves it that is in the middle of an older state: nothing of the log is in the file itself.
    monkeypatch.setattr("tlc_edge.runtime.gallery.session.empty_log", lambda db: None)
    path, copy = tmp_path / "g", tmp_path / "copy"
    with Gallery.open(path, PRINT, WIDTH, create=True) as gallery:
        for key in "abcdef":
            add(gallery, "cup", key)
        log = path.with_name("g-wal").read_bytes()
        kept = set()
        for length in range(0, len(log) + 1, len(log) // 12):
            shutil.copy(path, copy)
            copy.with_name("copy-wal").write_bytes(log[:length])
            with Gallery.open(copy, PRINT, WIDTH, create=True) as torn:
                assert torn.check() == []
                keys = "".join(key for _, key in held(torn))
                assert "abcdef".startswith(keys)
                kept.add(keys)
    assert len(kept) > 3


# Disks


def test_a_full_disk_changes_nothing_and_the_gallery_goes_on(tmp_path: Path) -> None:
    with Gallery.open(tmp_path / "g", PRINT, WIDTH, create=True) as gallery:
        add(gallery, "cup", "a")
        pages = gallery._session.db.execute("PRAGMA page_count").fetchone()[0]
        gallery._session.db.execute(f"PRAGMA max_page_count = {pages + 2}")
        with pytest.raises(GalleryError, match="disk is full, so nothing was changed"):
            gallery.add("pen", vectors("b"), [source("b", bytes(100_000))])
        assert gallery.classes() == {"cup": 1}
        gallery._session.db.execute("PRAGMA max_page_count = 1000000")
        assert add(gallery, "pen", "b").classes == {"cup": 1, "pen": 1}
        assert gallery.check() == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 512 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs root")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_disk_that_really_is_full(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(200_000))
    path, keys = small_disk / "g", []
    with Gallery.open(path, PRINT, WIDTH, create=True) as gallery:
        with pytest.raises(GalleryError, match="disk is full"):  # noqa: PT012
            for i in range(1000):
                gallery.add("cup", vectors(str(i)), [source(str(i), bytes(5000))])
                keys.append(("cup", str(i)))
        assert len(keys) > 5
        assert held(gallery) == keys
    with Gallery.open(path, PRINT, WIDTH) as gallery:
        assert held(gallery) == keys
        assert gallery.check() == []
        ballast.unlink()
        add(gallery, "cup", "more")
    with Gallery.open(path, PRINT, WIDTH) as gallery:
        assert held(gallery) == [*keys, ("cup", "more")]


def test_a_disk_that_is_full_when_the_gallery_is_made(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    with pytest.raises(OSError, match="space"):
        ballast.write_bytes(bytes(600_000))
    with pytest.raises(GalleryError, match="disk is full"):
        Gallery.open(small_disk / "g", PRINT, WIDTH, create=True)
    ballast.unlink()
    with Gallery.open(small_disk / "g", PRINT, WIDTH, create=True) as gallery:
        add(gallery, "cup", "a")
        assert gallery.check() == []


def test_a_full_disk_while_exporting_recovering_and_compacting(small_disk: Path) -> None:
    path, out = small_disk / "g", small_disk / "out"
    with Gallery.open(path, PRINT, WIDTH, create=True) as gallery:
        keys = [str(i) for i in range(20)]
        gallery.add("cup", vectors(*keys), [source(key, bytes(3000)) for key in keys])
    ballast = small_disk / "ballast"
    with pytest.raises(OSError, match="space"):
        ballast.write_bytes(bytes(600_000))
    # Not a byte is left, not even for what SQLite keeps beside the file.
    with pytest.raises(GalleryError, match=r"disk failed|disk is full"):
        Gallery.open(path, PRINT, WIDTH)
    with Gallery.open(path, PRINT, WIDTH, read_only=True) as gallery:
        expected = held(gallery)
        assert gallery.check() == []
        with pytest.raises(GalleryError, match=r"disk failed|disk is full"):
            export(gallery, out)
        with pytest.raises(GalleryError, match="cannot be written"):
            recover(path, out, PRINT, WIDTH)
    ballast.write_bytes(bytes(300_000))
    with Gallery.open(path, PRINT, WIDTH) as gallery:
        rest = small_disk / "rest"
        with pytest.raises(OSError, match="space"):
            rest.write_bytes(bytes(600_000))
        with pytest.raises(GalleryError, match=r"disk is full|cannot be made smaller"):
            compact(gallery)
        assert held(gallery) == expected
        rest.unlink()
    assert sorted(p.name for p in small_disk.iterdir()) == ["ballast", "g"]
    ballast.unlink()
    with Gallery.open(path, PRINT, WIDTH) as gallery:
        assert gallery.check() == []
        export(gallery, out)
        compact(gallery)
        assert held(gallery) == expected


def test_a_write_that_fails_changes_nothing(tmp_path: Path) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Gallery.open(tmp_path / "g", PRINT, WIDTH, create=True) as gallery:
        add(gallery, "cup", "a")
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
        try:
            with pytest.raises(GalleryError, match="disk failed"):
                gallery.add("pen", vectors("b"), [source("b", bytes(200_000))])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        assert gallery.classes() == {"cup": 1}
        add(gallery, "pen", "b")
        assert gallery.check() == []
    assert reading(tmp_path / "g")


def test_a_writer_that_never_ends_is_reported(tmp_path: Path) -> None:
    with Gallery.open(tmp_path / "g", PRINT, WIDTH, create=True) as gallery:
        add(gallery, "cup", "a")
        gallery._session.db.execute("PRAGMA busy_timeout = 20")
        other = sqlite3.connect(tmp_path / "g", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(GalleryError, match="in use by another process"):
            add(gallery, "cup", "b")
        assert gallery.classes() == {"cup": 1}
        other.execute("ROLLBACK")
        other.close()
        assert add(gallery, "cup", "b").classes == {"cup": 2}


@pytest.fixture
def lockable(small_disk: Path) -> Callable[[bool], Path]:
    """Return the folder, made read-only or writable."""

    def lock(read_only: bool) -> Path:
        options = f"remount,{'ro' if read_only else 'rw'}"
        subprocess.run(["mount", "-o", options, str(small_disk)], check=True)
        return small_disk

    return lock


def test_a_read_only_disk_is_read_and_not_written(lockable: Callable[[bool], Path]) -> None:
    path = lockable(False) / "g"
    with Gallery.open(path, PRINT, WIDTH, create=True) as gallery:
        add(gallery, "cup", "a")
    lockable(True)
    with Gallery.open(path, PRINT, WIDTH, read_only=True) as gallery:
        with pytest.raises(GalleryError, match=r"read-only|may write"):
            export(gallery, path.with_name("out"))
        with pytest.raises(GalleryError, match="reading only"):
            compact(gallery)
    with pytest.raises(GalleryError, match="Read-only"):
        recover(path, path.with_name("out"), PRINT, WIDTH)
    with pytest.raises(GalleryError, match=r"read-only|may write"):
        Gallery.open(path, PRINT, WIDTH)
    with pytest.raises(GalleryError, match=r"read-only|may write"):
        Gallery.open(path.with_name("new"), PRINT, WIDTH, create=True)
    found = Gallery.open_if_exists(path, PRINT, WIDTH)
    assert found is not None
    with found as reader:
        assert (held(reader), reader.check()) == ([("cup", "a")], [])
        before = reader.data_version()
        assert reader.data_version() == before
        lockable(False)
        with Gallery.open(path, PRINT, WIDTH) as gallery:
            add(gallery, "pen", "b")
        assert reader.data_version() != before
        assert held(reader) == [("cup", "a"), ("pen", "b")]


def test_an_unmerged_log_on_a_read_only_disk_is_not_passed_over(lockable: Callable[[bool], Path]) -> None:
    path = lockable(False) / "g"
    other = path.with_name("other")
    with Gallery.open(path, PRINT, WIDTH, create=True) as gallery:
        add(gallery, "cup", "a")
        shutil.copy(path, other)
        shutil.copy(path.with_name("g-wal"), other.with_name("other-wal"))
    lockable(True)
    with pytest.raises(GalleryError, match="copy both to a writable folder"):
        Gallery.open(other, PRINT, WIDTH, read_only=True)
    lockable(False)
    with Gallery.open(other, PRINT, WIDTH, read_only=True) as reader:
        assert held(reader) == [("cup", "a")]
