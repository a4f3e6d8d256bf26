"""What a reader of a gallery gets: the rows that came, whether they lead on, and how far it is then."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gallery_samples import PRINT, WIDTH, add, source, vectors

from tlc_edge.runtime.gallery.gallery import Gallery
from tlc_edge.runtime.gallery.records import KEEP_OPERATIONS, START, Cursor, GalleryRows


def rows(ids: list[int], operation: int = 0, rewrites: int = 0, removed: tuple[int, ...] = ()) -> GalleryRows:
    count = len(ids)
    return GalleryRows(
        np.array(ids, np.int64),
        ("a",) * count,
        np.ones((count, WIDTH), np.int8),
        np.ones(count, np.float32),
        rewrites,
        operation,
        np.array(removed, np.int64),
    )


def test_rows_lead_on_while_nothing_earlier_changed_and_all_that_went_is_known() -> None:
    cursor = Cursor(5, 10, 2)
    assert rows([6], 10, 2).continues(cursor)
    assert rows([6], 10 + KEEP_OPERATIONS, 2).continues(cursor)
    assert not rows([6], 11 + KEEP_OPERATIONS, 2).continues(cursor)  # what was removed may be deleted by now
    assert not rows([6], 10, 3).continues(cursor)
    assert not rows([6], 10, 1).continues(cursor)
    assert rows([6, 7], 10, 2, removed=(1, 2)).continues(cursor)
    assert not rows([6, 7], 10, 2, removed=(1, 2, 3)).continues(cursor)
    assert rows([], 10, 2).continues(cursor)
    assert not rows([1], 10, 0).continues(START)


def test_how_far_a_reader_is_then() -> None:
    assert rows([6, 9], 11, 2).cursor() == Cursor(9, 11, 2)
    assert rows([6, 9], 11, 2).cursor(Cursor(5, 10, 1)) == Cursor(9, 11, 2)
    assert rows([], 11, 2).cursor(Cursor(5, 10, 2)) == Cursor(5, 11, 2)
    assert rows([], 11, 2).cursor() == Cursor(0, 11, 2)


def test_every_row_has_its_own_label_also_where_vectors_are_alike(tmp_path: Path) -> None:
    with Gallery.open(tmp_path / "g", PRINT, WIDTH, create=True) as gallery:
        for label in ("cup", "mug", "cup"):
            gallery.add(label, vectors("same"), [source(f"{label}{len(gallery.load().ids)}")])
        found = gallery.load()
    assert found.labels == ("cup", "mug", "cup")
    assert found.labels[0] is found.labels[2]  # one string object per class
    assert (found.vectors == found.vectors[0]).all()
    assert found.scales.tolist() == [found.scales[0]] * 3


@pytest.mark.parametrize("between", [0, 1, 5])
def test_only_what_came_since_is_read(tmp_path: Path, between: int) -> None:
    with Gallery.open(tmp_path / "g", PRINT, WIDTH, create=True) as gallery:
        add(gallery, "cup", "a", "b")
        cursor = gallery.load().cursor()
        for i in range(between):
            add(gallery, "mug", f"{i}")
        found = gallery.rows_since(cursor)
        assert (found.labels, found.removed.tolist()) == (("mug",) * between, [])
        assert found.continues(cursor)
        assert found.cursor(cursor) == gallery.load().cursor()
