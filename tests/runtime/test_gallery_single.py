"""Single examples of a gallery: removed, moved to another class, and brought back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from gallery_samples import PRINT, WIDTH, add, held

from tlc_edge.runtime.errors import GalleryError, UsageError
from tlc_edge.runtime.gallery.gallery import Gallery
from tlc_edge.runtime.gallery.limits import Limits
from tlc_edge.runtime.gallery.records import START


@pytest.fixture
def gallery(tmp_path: Path) -> Iterator[Gallery]:
    """Cups 1 to 3, pens 4 and 5; the image of 5 is that of 1."""
    with Gallery.open(tmp_path / "g", PRINT, WIDTH, create=True) as opened:
        add(opened, "cup", "a", "b", "c")
        add(opened, "pen", "d", "a")
        yield opened


BEFORE = [("cup", "a"), ("cup", "b"), ("cup", "c"), ("pen", "d"), ("pen", "a")]


def test_removed_examples_are_gone_and_come_back(gallery: Gallery) -> None:
    change = gallery.remove([2, 2, 3])
    assert (change.kind, change.label, change.removed, change.classes) == ("remove", "cup", 2, {"cup": 1, "pen": 2})
    assert held(gallery) == [("cup", "a"), ("pen", "d"), ("pen", "a")]
    assert gallery.remove([1, 4]).label == ""  # of several classes
    gallery.undo()
    assert gallery.undo().undone == "remove"
    assert held(gallery) == BEFORE
    assert gallery.check() == []


def test_moved_examples_have_the_other_label_and_get_theirs_back(gallery: Gallery) -> None:
    change = gallery.move([1, 2], "mug")
    assert (change.label, change.added, change.classes) == ("mug", 2, {"cup": 1, "mug": 2, "pen": 2})
    assert held(gallery) == [("mug", "a"), ("mug", "b"), *BEFORE[2:]]
    gallery.undo()
    assert held(gallery) == BEFORE


def test_an_image_that_the_class_holds_is_not_there_twice(gallery: Gallery) -> None:
    change = gallery.move([1, 2], "pen")
    assert (change.added, change.skipped, change.classes) == (1, 1, {"cup": 1, "pen": 3})
    gallery.undo()
    assert held(gallery) == BEFORE
    assert gallery.move([1, 5], "mug").classes == {"cup": 2, "mug": 1, "pen": 1}  # one image of two classes
    gallery.undo()
    assert held(gallery) == BEFORE
    assert gallery.check() == []


def test_a_limit_holds_for_what_is_moved(gallery: Gallery) -> None:
    gallery.limit(Limits(per_class=3))
    change = gallery.move([2, 3], "pen")
    assert (change.gone, change.classes) == (1, {"cup": 1, "pen": 3})
    gallery.undo()
    assert held(gallery) == BEFORE


def test_a_reader_reads_all_again(gallery: Gallery) -> None:
    before = gallery.load()
    gallery.move([4], "cup")
    rows = gallery.rows_since(before.cursor())
    assert not rows.continues(before.cursor())
    assert gallery.rows_since(START).labels == ("cup", "cup", "cup", "cup", "pen")


@pytest.mark.parametrize("ids", [[], [9], [1, 0, -1], [1 << 70]])
def test_what_is_not_there_changes_nothing(gallery: Gallery, ids: list[int]) -> None:
    for change in (lambda: gallery.remove(ids), lambda: gallery.move(ids, "mug")):
        with pytest.raises(UsageError, match="no example"):
            change()
    with pytest.raises(GalleryError, match="all of these are in class 'cup' already"):
        gallery.move([1, 2], "cup")
    assert held(gallery) == BEFORE
