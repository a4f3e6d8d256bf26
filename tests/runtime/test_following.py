"""A bank that follows a gallery: what it reads, what it forgets, and that nothing is read twice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from gallery_samples import PRINT, WIDTH, add, vectors

from tlc_edge.runtime.bundle.bundle import Exemplars
from tlc_edge.runtime.errors import GalleryError
from tlc_edge.runtime.gallery.gallery import Gallery
from tlc_edge.runtime.gallery.limits import Limits
from tlc_edge.runtime.gallery.records import Cursor
from tlc_edge.runtime.knn.bank import Bank
from tlc_edge.runtime.knn.following import FollowingBank
from tlc_edge.runtime.vectors import unit_rows

Make = Callable[..., Gallery]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def made(name: str = "g", **classes: str) -> Gallery:
        gallery = Gallery.open(tmp_path / name, PRINT, WIDTH, create=True)
        for label, keys in classes.items():
            add(gallery, label, *keys)
        return gallery

    return made


@pytest.fixture
def following() -> FollowingBank:
    return FollowingBank(Bank(Exemplars(unit_rows(vectors("x", "y")), np.array([0, 1])), ("cup", "mug")))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """From which example on the gallery was read, each time."""
    seen: list[int] = []
    rows_since = Gallery.rows_since

    def noted(self: Gallery, cursor: Cursor, most: int | None = None) -> object:
        seen.append(cursor.example)
        return rows_since(self, cursor, most)

    monkeypatch.setattr(Gallery, "rows_since", noted)
    return seen


def held(following: FollowingBank) -> list[tuple[int, str]]:
    bank = following.bank
    return [(int(i), bank.labels[c]) for i, c in zip(bank.ids, bank.row_class, strict=True)]


def test_without_a_gallery_there_are_the_exemplars(following: FollowingBank) -> None:
    assert not following.follow(None)
    assert held(following) == [(0, "cup"), (0, "mug")]


def test_what_is_new_is_read_once(following: FollowingBank, make: Make, asked: list[int]) -> None:
    with make(pen="ab") as gallery:
        assert following.follow(gallery)
        assert not following.follow(gallery)
        add(gallery, "pen", "c")
        assert following.follow(gallery)
        assert not following.follow(gallery)
        assert held(following) == [(0, "cup"), (0, "mug"), (1, "pen"), (2, "pen"), (3, "pen")]
    assert asked == [0, 2]


def test_it_is_current_until_something_changes_whoever_changes_it(following: FollowingBank, make: Make) -> None:
    assert following.is_current(None)
    with make(pen="ab") as gallery, Gallery.open(gallery.path, PRINT, WIDTH) as other, make("h", pot="c") as another:
        assert not following.is_current(gallery)
        following.follow(gallery)
        assert following.is_current(gallery)
        assert not following.is_current(another)
        assert not following.is_current(other)  # the same file in another object: what it read it has to ask
        assert not following.is_current(None)
        for change in (lambda: add(gallery, "pen", "c"), lambda: add(other, "pen", "d"), lambda: other.forget("pen")):
            change()
            assert not following.is_current(gallery)
            following.follow(gallery)
            assert following.is_current(gallery)
        following.follow(None)
        assert following.is_current(None)
        assert not following.is_current(gallery)


def test_what_another_enrols_is_read_too(following: FollowingBank, make: Make, asked: list[int]) -> None:
    with make(pen="ab") as gallery, Gallery.open(gallery.path, PRINT, WIDTH) as other:
        following.follow(gallery)
        add(other, "mug", "c")
        assert following.follow(gallery)
        assert held(following)[-1] == (3, "mug")
    assert asked == [0, 2]


@pytest.mark.parametrize("change", ["forget", "rename", "undo"])
def test_what_changes_earlier_rows_makes_it_read_all_again(
    following: FollowingBank, make: Make, asked: list[int], change: str
) -> None:
    with make(pen="ab", pot="c") as gallery:
        following.follow(gallery)
        {
            "forget": lambda: gallery.forget("pen"),
            "rename": lambda: gallery.rename("pen", "ink"),
            "undo": lambda: gallery.undo(),
        }[change]()
        assert following.follow(gallery)
        rows = {
            "forget": [(3, "pot")],
            "rename": [(1, "ink"), (2, "ink"), (3, "pot")],
            "undo": [(1, "pen"), (2, "pen")],
        }
        assert held(following)[2:] == rows[change]
    assert asked == [0, 3, 0]


def test_the_same_file_opened_anew_goes_on_where_it_was(following: FollowingBank, make: Make, asked: list[int]) -> None:
    with make(pen="ab") as gallery:
        following.follow(gallery)
    with Gallery.open(gallery.path, PRINT, WIDTH) as again:
        add(again, "pen", "c")
        assert following.follow(again)
        assert len(following.bank) == 5
    assert asked == [0, 2]


def test_another_file_in_its_place_is_read_from_the_start(
    following: FollowingBank, make: Make, asked: list[int]
) -> None:
    with make(pen="ab") as gallery, make("other", pot="cde") as other:
        following.follow(gallery)
        assert following.follow(other)
        assert held(following)[2:] == [(1, "pot"), (2, "pot"), (3, "pot")]
        assert following.follow(None)  # and where there is none any more, nothing stays
        assert not following.follow(None)
        assert held(following) == [(0, "cup"), (0, "mug")]
        assert following.follow(gallery)
        assert held(following)[2:] == [(1, "pen"), (2, "pen")]
    assert asked == [0, 0, 0]


def test_a_gallery_that_could_not_be_read_is_read_when_it_can_be(
    following: FollowingBank, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Gallery, cursor: Cursor, most: int | None = None) -> object:
        raise GalleryError("the disk failed")

    with make(pen="ab") as gallery:
        following.follow(gallery)
        add(gallery, "pen", "c")
        with monkeypatch.context() as patch:
            patch.setattr(Gallery, "rows_since", broken)
            with pytest.raises(GalleryError, match="the disk failed"):
                following.follow(gallery)
        assert following.follow(gallery)
        assert len(following.bank) == 5


@pytest.mark.parametrize(("portion", "read"), [(8, [0, 8, 16]), (11, [0, 11, 22]), (22, [0, 22]), (23, [0])])
def test_much_is_read_in_portions(
    make: Make, asked: list[int], monkeypatch: pytest.MonkeyPatch, portion: int, read: list[int]
) -> None:
    """The last of one row only, too."""
    nothing = Exemplars(np.zeros((0, WIDTH), np.float32), np.zeros(0, np.int64))
    gallery, keys = make(), [f"{i}" for i in range(20)]
    add(gallery, "cup", *keys)
    add(gallery, "mug", *keys[:3])
    whole, parts = FollowingBank(Bank(nothing, ())), FollowingBank(Bank(nothing, ()))
    whole.follow(gallery)
    monkeypatch.setattr("tlc_edge.runtime.knn.following._PORTION", portion)
    asked.clear()
    assert parts.follow(gallery)
    assert asked == read
    assert not parts.follow(gallery)
    assert held(parts) == held(whole)
    np.testing.assert_allclose(parts.bank.sums(), whole.bank.sums(), atol=1e-5)
    gallery.forget("mug")
    assert parts.follow(gallery)
    assert held(parts) == [(i, "cup") for i in range(1, 21)]


def test_more_than_memory_is_free_for_lies_on_disk_and_is_found_as_exactly(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = Exemplars(np.zeros((0, WIDTH), np.float32), np.zeros(0, np.int64))
    gallery = make()
    gallery.limit(Limits(0, 0))
    for c in range(5):
        add(gallery, f"c{c}", *(f"{c}.{i}" for i in range(1000)))
    (tmp_path / "meminfo").write_text("MemAvailable: 1 kB\n")
    whole, little = FollowingBank(Bank(nothing, ())), FollowingBank(Bank(nothing, ()))
    whole.follow(gallery)
    monkeypatch.setattr("tlc_edge.runtime.knn.bank._MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr("tlc_edge.runtime.knn.following._PORTION", 2048)
    little.follow(gallery)
    assert (whole.bank.is_on_disk, little.bank.is_on_disk) == (False, True)
    for query in vectors("0.5", "3.7", "new"):
        a, b = whole.bank.nearby(query, 5), little.bank.nearby(query, 5)
        assert a.ids == b.ids
        np.testing.assert_allclose(a.cosines, b.cosines, atol=1e-5)
        np.testing.assert_allclose(a.knownness, b.knownness, atol=1e-5)
    little.leave()  # as in the child of a fork: nothing of the parent's files is used
    assert (held(little), little.bank.is_on_disk, little.is_current(gallery)) == ([], False, False)
    little.follow(gallery)
    assert held(little) == held(whole)
