"""Merged rows: the mean of what was taught, with its count; nothing of it is lost, here or from device to device."""

from __future__ import annotations

import hashlib
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from gallery_samples import PRINT, WIDTH, add, held, source, vectors

from tlc_edge.runtime.bundle.bundle import Exemplars
from tlc_edge.runtime.errors import GalleryError
from tlc_edge.runtime.gallery import schema
from tlc_edge.runtime.gallery.compact import compact
from tlc_edge.runtime.gallery.gallery import Gallery
from tlc_edge.runtime.gallery.limits import Limits
from tlc_edge.runtime.gallery.merging import KNOWN_IMAGES
from tlc_edge.runtime.gallery.receiver import StoredExample
from tlc_edge.runtime.gallery.recover import recover
from tlc_edge.runtime.gallery.transfer import export, new_file, stored, take_in
from tlc_edge.runtime.knn.bank import Bank
from tlc_edge.runtime.knn.following import FollowingBank
from tlc_edge.runtime.vectors import unit_rows

Make = Callable[..., Gallery]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    opened: list[Gallery] = []

    def made(name: str, *keys: str, limit: int = 0, label: str = "cup") -> Gallery:
        gallery = Gallery.open(tmp_path / name, PRINT, WIDTH, create=True)
        opened.append(gallery)
        if limit:
            gallery.limit(Limits(limit, 0))
        for key in keys:
            gallery.add(label, vectors(key), [source(key, f"jpeg of {key}".encode())])
        return gallery

    yield made
    for gallery in opened:
        gallery.close()


def images(*keys: str) -> set[bytes]:
    return {hashlib.sha256(key.encode()).digest() for key in keys}


def made_of(gallery: Gallery) -> dict[str, int]:
    """How many images each class is made of, by their hashes."""
    found: Counter[str] = Counter()
    for one in stored(gallery):
        found[one.label] += len(one.row.own_images())
    return dict(found)


def counted(gallery: Gallery) -> dict[str, int]:
    found: Counter[str] = Counter()
    for one in gallery.examples():
        found[one.label] += one.stands_for
    return dict(found)


# At a limit


def test_two_become_one_that_is_their_mean_and_knows_its_images_and_has_a_picture(make: Make) -> None:
    gallery = make("g", "a", "b", limit=2)
    parts = list(stored(gallery))
    change = gallery.add("cup", vectors("a") + np.float32(0.01), [source("near a")])
    assert (change.added, change.gone, change.classes) == (1, 1, {"cup": 2})
    alone, both = stored(gallery)
    assert (alone, both.stands_for) == (parts[1], 2)
    assert both.row.own_images() == images("a", "near a")
    assert (both.sha256, both.name, both.thumbnail) == (parts[0].sha256, "a.jpg", b"jpeg of a")
    mean = (unit_rows(vectors("a")) + unit_rows(vectors("a") + np.float32(0.01))).astype(np.float32)
    np.testing.assert_allclose(unit_rows(np.frombuffer(both.vector, np.int8)[None]), unit_rows(mean), atol=0.01)
    length = np.linalg.norm(np.frombuffer(both.vector, np.int8) * both.scale)
    assert length == pytest.approx(np.linalg.norm(vectors("a")), rel=0.01)
    assert [e.stands_for for e in gallery.examples()] == [1, 2]
    assert gallery.check() == []


def test_what_a_merged_row_is_made_of_is_known(make: Make) -> None:
    keys = [f"{i}" for i in range(30)]
    gallery = make("g", limit=5)
    assert add(gallery, "cup", *keys).gone == 25
    assert counted(gallery) == {"cup": 30} == made_of(gallery)
    again = add(gallery, "cup", *keys)  # the same folder, a second time
    assert (again.added, again.skipped, counted(gallery)) == (0, 30, {"cup": 30})
    assert gallery.labels_of([source("7").sha256, source("new").sha256]) == [("cup",), ()]
    assert add(gallery, "pen", "7").added == 1
    assert gallery.labels_of([source("7").sha256]) == [("cup", "pen")]


def test_every_step_is_taken_back_to_the_bit(make: Make) -> None:
    gallery, states = make("g", limit=3), []
    for i in range(25):
        states.append(list(stored(gallery)))
        add(gallery, f"c{i % 2}", *(f"{i}.{j}" for j in range(1 + i % 4)))
    for before in reversed(states):
        gallery.undo()
        assert list(stored(gallery)) == before
    assert gallery.check() == []


def test_parts_are_kept_as_long_as_they_can_come_back_and_no_longer(make: Make) -> None:
    gallery = make("g", limit=2)
    for i in range(200):
        add(gallery, "cup", f"{i}")
    with gallery.reading() as db:
        rows, pictures, known = (
            db.execute(f"SELECT count(*) FROM {t}").fetchone()[0] for t in ("examples", "thumbnails", "merged")
        )
    assert (counted(gallery), pictures) == ({"cup": 200}, 0)
    assert rows < 200  # some three for each of the last fifty
    assert known <= KNOWN_IMAGES * rows
    compact(gallery)
    assert {len(one.images) for one in stored(gallery)} <= set(range(KNOWN_IMAGES + 1))
    with gallery.reading() as db:
        assert db.execute("SELECT count(*) FROM examples").fetchone() == (2,)
        assert db.execute("SELECT count(*) FROM merged").fetchone()[0] <= 2 * KNOWN_IMAGES


def test_the_classes_mean_is_that_of_all_that_was_taught(make: Make) -> None:
    rng = np.random.default_rng(0)
    middle = rng.normal(size=WIDTH) * 3
    taught = (middle + rng.normal(size=(40, WIDTH))).astype(np.float32)
    for name, limit in (("all", 0), ("few", 4)):
        gallery = make(name, limit=limit)
        for i, row in enumerate(taught):
            gallery.add("cup", row[None], [source(f"{i}")])
    every, few = (bank_of(make(name)) for name in ("all", "few"))
    assert (len(every), len(few)) == (40, 4)
    assert every.taught().tolist() == few.taught().tolist() == [40]
    assert float(unit_rows(every.sums().astype(np.float32))[0] @ unit_rows(few.sums().astype(np.float32))[0]) > 0.999
    assert np.linalg.norm(few.sums()) > np.linalg.norm(every.sums()) * 0.95


def bank_of(gallery: Gallery) -> Bank:
    following = FollowingBank(Bank(Exemplars(np.zeros((0, WIDTH), np.float32), np.zeros(0, np.int64)), ()))
    following.follow(gallery)
    return following.bank


def test_a_bank_that_follows_is_one_that_reads_all(make: Make) -> None:
    gallery = make("g", limit=3)
    following = FollowingBank(Bank(Exemplars(np.zeros((0, WIDTH), np.float32), np.zeros(0, np.int64)), ()))
    for i in range(20):
        add(gallery, f"c{i % 2}", f"{i}")
        following.follow(gallery)
        whole = bank_of(gallery)
        same = [following.bank.labels.index(label) for label in whole.labels]  # in another order, maybe
        assert following.bank.taught()[same].tolist() == whole.taught().tolist()
        np.testing.assert_allclose(following.bank.sums()[same], whole.sums(), atol=1e-4)
        mine, theirs = following.bank.claimed(), whole.claimed()
        assert mine.stand_for is not None
        assert theirs.stand_for is not None
        assert sorted(mine.stand_for.tolist()) == sorted(theirs.stand_for.tolist())


def test_a_merged_sample_leaves_its_class_with_all_that_it_is_made_of(make: Make) -> None:
    gallery = make("g", limit=2)
    for i in range(6):
        gallery.add("cup", vectors("a") + np.float32(i / 1000), [source(f"a{i}")])
    add(gallery, "cup", "b")
    (many, few) = sorted(stored(gallery), key=lambda one: -one.stands_for)
    assert (many.stands_for, few.stands_for) == (6, 1)
    claimed = bank_of(gallery).claimed()
    rows = unit_rows(np.stack([np.frombuffer(one.vector, np.int8) for one in (many, few)]))
    # Each is beside the other alone: nothing of itself is left in the mean.
    np.testing.assert_allclose(claimed.of_enrolled[:, 0], rows[0] @ rows[1], atol=1e-5)


# Other changes


@pytest.mark.parametrize("way", ["move", "rename"])
def test_a_merged_row_joins_the_row_that_holds_its_image(make: Make, way: str) -> None:
    gallery = make("g", "a", "b", limit=1)
    add(gallery, "mug", "a")
    add(gallery, "mug", "c")
    before = list(stored(gallery))
    change = gallery.move([before[0].id], "mug") if way == "move" else gallery.rename("cup", "mug", merge=True)
    assert (change.added, change.skipped) == (1, 0)
    assert (made_of(gallery), counted(gallery)) == ({"mug": 3}, {"mug": 3})  # a was in both
    gallery.undo()
    assert list(stored(gallery)) == before
    add(gallery, "pen", "a")  # a single example says no more than its image
    pen = next(one.id for one in stored(gallery) if one.label == "pen")
    assert (gallery.move([pen], "mug").skipped, counted(gallery)) == (1, {"cup": 2, "mug": 2})


def test_a_merged_row_that_is_removed_or_forgotten_takes_its_images_along(make: Make) -> None:
    gallery = make("g", "a", "b", limit=1)
    for go in (lambda: gallery.remove([gallery.examples()[0].id]), lambda: gallery.forget("cup")):
        go()
        assert gallery.labels_of([source("a").sha256, source("b").sha256]) == [(), ()]
        gallery.undo()
        assert gallery.labels_of([source("a").sha256, source("b").sha256]) == [("cup",), ("cup",)]


# From device to device


def carry(source: Gallery, to: Gallery) -> tuple[int, int]:
    change = take_in(to, stored(source), "import", "").change
    return change.added, change.skipped


def test_counts_and_images_go_along_and_come_only_once(make: Make, tmp_path: Path) -> None:
    mine, other = make("mine", *"abcdef", limit=2), make("other")
    assert export(mine, tmp_path / "out") == {"cup": 2}
    with Gallery.open(tmp_path / "out", PRINT, WIDTH, read_only=True) as out:
        assert [(one.vector, one.scale, one.stands_for, one.images, one.thumbnail) for one in stored(out)] == [
            (one.vector, one.scale, one.stands_for, one.images, one.thumbnail) for one in stored(mine)
        ]
        assert carry(out, other) == (2, 0)
        assert carry(out, other) == (0, 2)
    assert counted(other) == {"cup": 6} == made_of(other)
    assert add(other, "cup", *"abcdef").skipped == 6
    assert other.undo().classes == {}
    assert other.check() == []


def test_what_was_taught_on_two_devices_is_all_there_though_they_began_with_the_same(make: Make) -> None:
    first, second, hub = make("1", *"axy", limit=1), make("2", *"az", limit=1), make("hub")
    assert {one.sha256 for g in (first, second) for one in stored(g)} == {source("a").sha256}
    carry(first, hub)
    carry(second, hub)
    assert (counted(hub), made_of(hub)) == ({"cup": 4}, {"cup": 4})  # a, x, y, z
    before = list(stored(hub))
    assert hub.undo().undone == "import"
    assert (counted(hub), made_of(hub)) == ({"cup": 3}, {"cup": 3})
    carry(second, hub)
    assert [one[1:] for one in stored(hub)] == [one[1:] for one in before]


def test_a_row_that_grew_takes_the_place_of_what_it_was(make: Make) -> None:
    mine, hub = make("mine", *"ab", limit=1), make("hub")
    carry(mine, hub)
    add(mine, "cup", "c", "d")
    assert carry(mine, hub) == (1, 0)
    assert [(one.vector, one.stands_for, one.images) for one in stored(hub)] == [
        (one.vector, one.stands_for, one.images) for one in stored(mine)
    ]
    assert carry(mine, hub) == (0, 1)


def test_what_is_held_of_a_merged_row_does_not_count_twice(make: Make) -> None:
    mine, hub = make("mine", *"abc", limit=1), make("hub", "b")
    assert carry(mine, hub) == (1, 0)
    assert (counted(hub), made_of(hub)) == ({"cup": 3}, {"cup": 3})
    whole = make("whole", *"abc")
    assert carry(mine, whole) == (0, 1)  # all of it is here, one by one


def by_rule(mine: Gallery, other: Gallery, rule: str) -> tuple[dict[str, int], list[tuple[set[bytes], str, str]]]:
    """Import by a rule; return what is counted then, and the conflicts. Once more brings nothing, and undo is exact."""
    before = list(stored(mine))
    intake = take_in(mine, stored(other), "import", "", rule)
    found, after = counted(mine), list(stored(mine))
    assert take_in(mine, stored(other), "import", "", rule).change.added == 0
    assert list(stored(mine)) == after
    assert mine.check() == []
    if intake.change.added:
        assert mine.undo().undone == "import"
    assert list(stored(mine)) == before
    return found, [({bytes.fromhex(c.sha256)}, ",".join(c.held), c.incoming) for c in intake.conflicts]


RULES = pytest.mark.parametrize("rule", ["first", "last", "both"])


@RULES
def test_a_merged_row_in_conflict_loses_that_image_alone(make: Make, rule: str) -> None:
    mine, other = make("mine", *"abc", limit=1), make("other", *"ade", limit=1, label="mug")
    found, conflicts = by_rule(mine, other, rule)
    assert conflicts == [(images("a"), "cup", "mug")]
    assert found == {"first": {"cup": 3, "mug": 2}, "last": {"cup": 2, "mug": 3}, "both": {"cup": 3, "mug": 3}}[rule]


@RULES
def test_an_image_that_is_only_part_of_a_merged_row_is_in_conflict_too(make: Make, rule: str) -> None:
    mine, other = make("mine", *"abcd", limit=1), make("other", *"dbx", label="mug")
    found, conflicts = by_rule(mine, other, rule)
    assert conflicts == [(images(i), "cup", "mug") for i in "db"]
    assert found == {"first": {"cup": 4, "mug": 1}, "last": {"cup": 2, "mug": 3}, "both": {"cup": 4, "mug": 3}}[rule]
    # And the other way round.
    found, conflicts = by_rule(other, mine, rule)
    assert sorted(conflicts, key=str) == sorted([(images(i), "mug", "cup") for i in "db"], key=str)
    assert found == {"first": {"cup": 2, "mug": 3}, "last": {"cup": 4, "mug": 1}, "both": {"cup": 4, "mug": 3}}[rule]


def test_a_merged_row_of_which_all_is_held_elsewhere_goes_or_stays_whole(make: Make) -> None:
    mine, other = make("mine", *"ab"), make("other", *"ba", limit=1, label="mug")
    assert by_rule(mine, other, "first")[0] == {"cup": 2}
    assert by_rule(mine, other, "last")[0] == {"mug": 2}


def test_the_picture_stays_with_its_image(make: Make) -> None:
    mine, other = make("mine", *"abc", limit=1), make("other", "b", label="mug")
    take_in(mine, stored(other), "import", "", "last")
    rest = next(one for one in stored(mine) if one.label == "cup")
    assert (rest.row.own_images(), rest.name, rest.thumbnail) == (images("a", "c"), "a.jpg", b"jpeg of a")
    take_in(mine, stored(make("third", "a", label="mug")), "import", "", "last")
    rest = next(one for one in stored(mine) if one.label == "cup")
    assert (rest.row.own_images(), rest.name, rest.thumbnail) == (images("c"), rest.sha256[:12], None)


# The file


def test_recovery_saves_counts_and_images(make: Make, tmp_path: Path) -> None:
    gallery = make("g", *"abcdef", limit=2)
    before = {(one.sha256, one.stands_for, one.images, one.thumbnail) for one in stored(gallery)}
    gallery.close()
    recover(tmp_path / "g", tmp_path / "saved", PRINT, WIDTH)
    with Gallery.open(tmp_path / "saved", PRINT, WIDTH) as saved:
        assert {(one.sha256, one.stands_for, one.images, one.thumbnail) for one in stored(saved)} == before
    data = bytearray((tmp_path / "g").read_bytes())
    data[:100] = bytes(100)  # nothing but bare pages is left
    (tmp_path / "g").write_bytes(data)
    done = recover(tmp_path / "g", tmp_path / "carved", PRINT, WIDTH)
    with Gallery.open(tmp_path / "carved", PRINT, WIDTH) as carved:
        assert done.loose == done.saved
        assert {(one.sha256, one.stands_for) for one in stored(carved)} >= {one[:2] for one in before}


def test_check_finds_counts_and_hashes_that_cannot_be(make: Make, tmp_path: Path) -> None:
    gallery = make("g", *"ab", limit=1)
    for harm, told in (
        ("UPDATE examples SET stands_for = 0 WHERE removed_by IS NULL", "stands for no number of examples"),
        ("UPDATE examples SET stands_for = 5000000000 WHERE removed_by IS NULL", "stands for no number of examples"),
        ("UPDATE merged SET sha256 = x'00'", "mean of an image that has no hash"),
    ):
        with sqlite3.connect(tmp_path / "g", isolation_level=None) as other:
            before = other.execute("SELECT id, stands_for FROM examples").fetchall()
            other.execute(harm)
        other.close()
        assert any(told in line for line in gallery.check()), gallery.check()
        with pytest.raises(GalleryError, match="damaged"):
            list(stored(gallery))
        with sqlite3.connect(tmp_path / "g", isolation_level=None) as other:
            other.executemany("UPDATE examples SET stands_for = ? WHERE id = ?", [(n, i) for i, n in before])
        other.close()


def test_a_gallery_of_the_second_version_goes_on_and_its_history_is_taken_back(tmp_path: Path) -> None:
    """There the last of three gave way to the first, which then stood for both."""
    path = tmp_path / "old"
    db = sqlite3.connect(path, isolation_level=None)
    meta = {"fingerprint": PRINT, "width": str(WIDTH), "created": "", "rewrites": "0", "per_class": "2"}
    schema.upgrade(db, path, meta, schema.MIGRATIONS[:2])
    with new_file(tmp_path / "made", PRINT, WIDTH) as made:
        add(made, "cup", "a", "b", "c")
        rows = [(e.id, "cup", e.vector, e.scale, e.sha256, e.name, e.at) for e in stored(made)]
        with made.reading() as there:
            sums = [crc for (crc,) in there.execute("SELECT crc FROM examples")]
    at = "2025-01-02T03:04:05+00:00"
    db.execute("INSERT INTO operations VALUES (1, 'add', 'cup', '{}', ?, 0)", (at,))
    db.execute("INSERT INTO operations VALUES (2, 'add', 'cup', '{\"gone\": [[2, 1]]}', ?, 0)", (at,))
    for row, crc in zip(rows, sums, strict=True):
        removed, count = (2, 1) if row[0] == 2 else (None, 2 if row[0] == 1 else 1)
        db.execute(
            "INSERT INTO examples (id, label, vector, scale, source_sha256, source_name, at, crc, added_by, "
            "removed_by, stands_for) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*row, crc, 2 if row[0] == 3 else 1, removed, count),
        )
    db.close()
    before = path.read_bytes()
    with Gallery.open(path, PRINT, WIDTH, read_only=True) as reader:
        assert (reader.check(), counted(reader)) == ([], {"cup": 3})
        assert reader.labels_of([source("a").sha256]) == [("cup",)]
        rows_read = reader.load()
        assert rows_read.stands_for is not None
        assert rows_read.stands_for.tolist() == [2, 1]
        assert [one.images for one in stored(reader)] == [(), ()]
    assert path.read_bytes() == before
    with Gallery.open(path, PRINT, WIDTH) as gallery:
        add(gallery, "cup", "d")
        assert (counted(gallery), gallery.classes(), gallery.check()) == ({"cup": 4}, {"cup": 2}, [])
        gallery.undo()
        assert counted(gallery) == {"cup": 3}
        gallery.undo()
        assert (held(gallery), counted(gallery)) == ([("cup", "a"), ("cup", "b")], {"cup": 2})


def test_strangers_rows_without_an_image_are_damage(make: Make) -> None:
    gallery = make("g", "a")
    one = next(stored(gallery))
    with pytest.raises(GalleryError, match="damaged"):
        take_in(gallery, [StoredExample._make(one)._replace(sha256="no hash")], "import", "")
    assert counted(gallery) == {"cup": 1}
