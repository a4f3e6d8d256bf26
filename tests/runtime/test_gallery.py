"""The gallery's operations, each in a pair: what it must change and what it must leave alone."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from gallery_samples import PRINT, WIDTH, add, held, source, vectors

from tlc_edge.runtime.errors import GalleryError, UsageError
from tlc_edge.runtime.gallery.gallery import Gallery
from tlc_edge.runtime.gallery.limits import Limits
from tlc_edge.runtime.gallery.records import KEEP_OPERATIONS, ExampleSource
from tlc_edge.runtime.vectors import quantize_row


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "device.gallery"


@pytest.fixture
def gallery(path: Path) -> Iterator[Gallery]:
    with Gallery.open(path, PRINT, WIDTH, create=True) as opened:
        yield opened


def reopened(gallery: Gallery) -> Gallery:
    gallery.close()
    return Gallery.open(gallery.path, PRINT, WIDTH)


# Adding and reading


def test_added_examples_come_back_after_reopening(gallery: Gallery) -> None:
    change = add(gallery, "cup", "a", "b")
    assert (change.kind, change.label) == ("add", "cup")
    assert (change.added, change.removed, change.skipped) == (2, 0, 0)
    assert change.classes == {"cup": 2}
    with reopened(gallery) as again:
        assert held(again) == [("cup", "a"), ("cup", "b")]
        rows = again.load()
        assert rows.ids.tolist() == [1, 2]
        assert rows.labels == ("cup", "cup")
        assert (rows.ids.dtype, rows.vectors.dtype, rows.scales.dtype) == (np.int64, np.int8, np.float32)
        for row, scale, vector in zip(rows.vectors, rows.scales, vectors("a", "b"), strict=True):
            expected, expected_scale = quantize_row(vector)
            assert row.tolist() == expected.tolist()
            assert scale == np.float32(expected_scale)


def test_classes_are_sorted_and_counted(gallery: Gallery) -> None:
    assert gallery.classes() == {}
    add(gallery, "pen", "a")
    add(gallery, "cup", "b", "c")
    change = add(gallery, "pen", "d")
    assert list(change.classes.items()) == [("cup", 2), ("pen", 2)]
    assert list(gallery.classes().items()) == [("cup", 2), ("pen", 2)]


def test_the_count_is_right_for_a_first_addition_after_reopening(gallery: Gallery) -> None:
    add(gallery, "cup", "a")
    with reopened(gallery) as again:
        assert add(again, "cup", "b").classes == {"cup": 2} == again.classes()


def test_the_same_image_is_skipped_in_its_class_and_kept_in_another(gallery: Gallery) -> None:
    add(gallery, "cup", "a")
    change = add(gallery, "cup", "a", "b", "b")
    assert (change.added, change.skipped) == (1, 2)
    assert add(gallery, "pen", "a").added == 1
    assert held(gallery) == [("cup", "a"), ("cup", "b"), ("pen", "a")]


def test_an_addition_of_nothing_new_is_no_operation(gallery: Gallery) -> None:
    add(gallery, "cup", "a")
    assert add(gallery, "cup", "a").added == 0
    assert add(gallery, "pen").classes == {"cup": 1}
    assert gallery.undo().removed == 1
    with pytest.raises(GalleryError, match="nothing to undo"):
        gallery.undo()


def test_thumbnails_come_back_and_their_absence_is_told(gallery: Gallery) -> None:
    gallery.add("cup", vectors("a", "b"), [source("a", b"\xff\xd8picture"), source("b")])
    assert [e.has_thumbnail for e in gallery.examples()] == [True, False]
    assert gallery.thumbnail(1) == b"\xff\xd8picture"
    assert gallery.thumbnail(2) is None
    with pytest.raises(GalleryError, match="no example 3"):
        gallery.thumbnail(3)


def test_examples_of_one_class(gallery: Gallery) -> None:
    add(gallery, "cup", "a")
    add(gallery, "pen", "b")
    only = gallery.examples("pen")
    assert [(e.id, e.label, e.source_name, e.sha256) for e in only] == [(2, "pen", "b.jpg", source("b").sha256)]
    with pytest.raises(UsageError, match="unknown class 'pin'; known: pen, cup"):
        gallery.examples("pin")


def test_more_rows_than_one_portion(gallery: Gallery) -> None:
    gallery.limit(Limits(0, 0))
    keys = [f"k{i}" for i in range(5000)]
    add(gallery, "many", *keys)
    rows = gallery.load()
    assert rows.ids.tolist() == list(range(1, 5001))
    assert rows.vectors[4999].tolist() == quantize_row(vectors("k4999")[0])[0].tolist()


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("  cup ", "cup"),
        ("cafe\u0301", "caf\u00e9"),
        ("日本", "日本"),
        ("a b", "a b"),
        ("x" * 200, "x" * 200),
    ],
)
def test_labels_are_normalised(gallery: Gallery, given: str, stored: str) -> None:
    assert add(gallery, given, "a").label == stored
    assert gallery.classes() == {stored: 1}
    assert gallery.forget(given).removed == 1


@pytest.mark.parametrize("bad", ["", "  ", "a\nb", "a\x00b", "x" * 201, "a\u2028b", "\udcff"])
def test_bad_labels_are_refused(gallery: Gallery, bad: str) -> None:
    add(gallery, "cup", "a")
    with pytest.raises(UsageError):
        add(gallery, bad, "b")
    with pytest.raises(UsageError):
        gallery.rename("cup", bad)
    assert held(gallery) == [("cup", "a")]


def test_a_vector_without_direction_enrolls_nothing(gallery: Gallery) -> None:
    for bad in (0.0, np.nan, np.inf):
        rows = vectors("a", "b")
        rows[1] = bad
        with pytest.raises(GalleryError, match=r"b\.jpg: .*nothing was enrolled"):
            gallery.add("cup", rows, [source("a"), source("b")])
    assert gallery.classes() == {}


def test_what_does_not_fit_is_a_mistake_of_the_caller(gallery: Gallery) -> None:
    with pytest.raises(ValueError, match="expected"):
        gallery.add("cup", vectors("a", width=WIDTH + 1), [source("a")])
    with pytest.raises(ValueError, match="expected"):
        gallery.add("cup", vectors("a", "b"), [source("a")])
    with pytest.raises(ValueError, match="SHA-256"):
        gallery.add("cup", vectors("a"), [ExampleSource("abc", "a.jpg")])
    assert gallery.classes() == {}


def test_a_file_name_that_is_not_unicode_is_stored_readably(gallery: Gallery) -> None:
    gallery.add("cup", vectors("a"), [ExampleSource(source("a").sha256, "caf\udce9.jpg")])
    assert gallery.examples()[0].source_name == "caf?.jpg"


# Forget, rename, undo


def test_forget_removes_its_class_only(gallery: Gallery) -> None:
    add(gallery, "cup", "a", "b")
    add(gallery, "pen", "c")
    change = gallery.forget("cup")
    assert (change.kind, change.label, change.removed, change.classes) == ("forget", "cup", 2, {"pen": 1})
    assert gallery.load().labels == ("pen",)
    with pytest.raises(GalleryError, match="no example 1"):
        gallery.thumbnail(1)
    with reopened(gallery) as again:
        assert held(again) == [("pen", "c")]


def test_forget_of_an_unknown_class_lists_the_nearest_first(gallery: Gallery) -> None:
    add(gallery, "apple", "a")
    add(gallery, "teacup", "b")
    with pytest.raises(UsageError, match="unknown class 'teacop'; known: teacup, apple"):
        gallery.forget("teacop")
    assert gallery.classes() == {"apple": 1, "teacup": 1}


def test_a_forgotten_image_can_be_taught_again(gallery: Gallery) -> None:
    add(gallery, "cup", "a")
    gallery.forget("cup")
    assert add(gallery, "cup", "a").added == 1
    assert gallery.load().ids.tolist() == [2]


def test_rename_changes_its_class_only(gallery: Gallery) -> None:
    add(gallery, "cup", "a", "b")
    add(gallery, "pen", "c")
    change = gallery.rename("cup", "mug")
    assert (change.kind, change.label, change.added, change.skipped) == ("rename", "mug", 2, 0)
    assert held(gallery) == [("mug", "a"), ("mug", "b"), ("pen", "c")]
    with pytest.raises(UsageError, match="unknown class 'cup'"):
        gallery.rename("cup", "bowl")
    with pytest.raises(GalleryError, match="already has this name"):
        gallery.rename("mug", " mug")


def test_merging_needs_to_be_asked_for_and_is_undone_exactly(gallery: Gallery) -> None:
    add(gallery, "cup", "a", "b")
    add(gallery, "mug", "b", "c")
    with pytest.raises(
        GalleryError, match=r"'mug' exists already \(2 examples\); choose another name, or merge the two"
    ):
        gallery.rename("cup", "mug")
    before = held(gallery)
    assert before == [("cup", "a"), ("cup", "b"), ("mug", "b"), ("mug", "c")]
    change = gallery.rename("cup", "mug", merge=True)
    assert (change.added, change.skipped, change.classes) == (1, 1, {"mug": 3})
    assert held(gallery) == [("mug", "a"), ("mug", "b"), ("mug", "c")]
    change = gallery.undo()
    assert (change.kind, change.undone, change.label, change.added) == ("undo", "rename", "cup", 2)
    assert held(gallery) == before


def test_undo_of_an_addition(gallery: Gallery) -> None:
    add(gallery, "cup", "a")
    add(gallery, "cup", "b", "c")
    change = gallery.undo()
    assert (change.label, change.undone, change.added, change.removed) == ("cup", "add", 0, 2)
    assert held(gallery) == [("cup", "a")]
    with reopened(gallery) as again:
        assert held(again) == [("cup", "a")]


def test_undo_of_forgetting_brings_back_no_more_than_it_took(gallery: Gallery) -> None:
    add(gallery, "cup", "a")
    gallery.forget("cup")
    add(gallery, "cup", "b")
    gallery.forget("cup")
    change = gallery.undo()
    assert (change.label, change.undone, change.added, change.classes) == ("cup", "forget", 1, {"cup": 1})
    assert held(gallery) == [("cup", "b")]


def test_repeated_undo_walks_back_through_everything(gallery: Gallery) -> None:
    steps = [
        lambda: add(gallery, "cup", "a", "b"),
        lambda: gallery.rename("cup", "mug"),
        lambda: add(gallery, "cup", "a"),
        lambda: gallery.forget("mug"),
        lambda: gallery.rename("cup", "mug"),
        lambda: add(gallery, "mug", "b"),
        lambda: add(gallery, "pen", "c"),
        lambda: gallery.rename("pen", "mug", merge=True),
        lambda: gallery.forget("mug"),
    ]
    states = [held(gallery)]
    for step in steps:
        step()
        states.append(held(gallery))
    for expected in reversed(states[:-1]):
        gallery.undo()
        assert held(gallery) == expected
    with pytest.raises(GalleryError, match="nothing to undo"):
        gallery.undo()
    assert gallery.check() == []


def test_undo_after_undo_and_a_new_operation(gallery: Gallery) -> None:
    add(gallery, "cup", "a")
    add(gallery, "cup", "b")
    gallery.undo()
    add(gallery, "pen", "c")
    assert gallery.undo().label == "pen"
    assert gallery.undo().label == "cup"
    assert held(gallery) == []


def test_undo_reaches_as_far_as_promised_and_no_farther(gallery: Gallery) -> None:
    add(gallery, "first", "first")
    for i in range(KEEP_OPERATIONS):
        add(gallery, "later", f"k{i}")
    for _ in range(KEEP_OPERATIONS):
        gallery.undo()
    assert held(gallery) == [("first", "first")]
    with pytest.raises(GalleryError, match=f"last {KEEP_OPERATIONS} operations"):
        gallery.undo()


def test_what_no_undo_can_bring_back_is_deleted(gallery: Gallery) -> None:
    gallery.add("cup", vectors("a"), [source("a", b"jpeg")])
    gallery.rename("cup", "mug")
    gallery.forget("mug")

    def stored() -> int:
        with sqlite3.connect(gallery.path) as db:
            count = db.execute(
                "SELECT (SELECT count(*) FROM examples WHERE label = 'mug')"
                " + (SELECT count(*) FROM thumbnails) + (SELECT count(*) FROM relabelled)"
            ).fetchone()[0]
        db.close()
        return int(count)

    for i in range(KEEP_OPERATIONS):
        add(gallery, "later", f"k{i}")
    assert stored() == 2  # the operation that forgot the example has only now come out of reach
    add(gallery, "later", "last")
    assert stored() == 0
    assert gallery.check() == []


def test_order_is_that_of_enrolment_when_the_clock_goes_backwards(path: Path) -> None:
    times = iter([2e9, 1e9, 0.0, -1e6])
    with Gallery.open(path, PRINT, WIDTH, create=True, clock=lambda: next(times)) as gallery:
        for key in "abc":
            add(gallery, "cup", key)
        assert [e.at[:4] for e in gallery.examples()] == ["2001", "1970", "1969"]
        assert held(gallery) == [("cup", "a"), ("cup", "b"), ("cup", "c")]
        gallery.undo()
        assert held(gallery) == [("cup", "a"), ("cup", "b")]


# What a reader follows


def test_rows_since_are_the_later_ones(gallery: Gallery) -> None:
    add(gallery, "cup", "a", "b")
    first = gallery.load()
    assert gallery.rows_since(first.cursor()).ids.tolist() == []
    add(gallery, "pen", "c")
    later = gallery.rows_since(first.cursor())
    assert (later.ids.tolist(), later.labels, later.vectors.shape) == ([3], ("pen",), (1, WIDTH))
    assert later.rewrites == first.rewrites


def test_rewrites_tell_that_earlier_rows_changed(gallery: Gallery) -> None:
    add(gallery, "cup", "a")
    seen = gallery.load().rewrites
    for change in (
        lambda: gallery.rename("cup", "mug"),
        gallery.undo,
        lambda: gallery.forget("cup"),
        gallery.undo,
    ):
        change()
        assert gallery.load().rewrites > seen
        seen = gallery.load().rewrites
    add(gallery, "cup", "b")
    assert gallery.load().rewrites == seen


def test_ids_are_never_used_twice(gallery: Gallery) -> None:
    add(gallery, "cup", "a")
    gallery.undo()
    for i in range(KEEP_OPERATIONS + 1):
        add(gallery, "cup", f"k{i}")
        gallery.undo()
    add(gallery, "cup", "z")
    assert gallery.load().ids.tolist() == [KEEP_OPERATIONS + 3]
