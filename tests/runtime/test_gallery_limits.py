"""How many examples are kept, and which: a class stays covered, and nothing goes that undo does not bring back."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from gallery_samples import PRINT, WIDTH, add, held, source, vectors

from tlc_edge.runtime.bundle.bundle import Exemplars
from tlc_edge.runtime.errors import GalleryError, UsageError
from tlc_edge.runtime.gallery.gallery import Gallery
from tlc_edge.runtime.gallery.limits import Limits
from tlc_edge.runtime.gallery.thinning import RUN, groups, mean_of, runs
from tlc_edge.runtime.knn.bank import Bank
from tlc_edge.runtime.knn.following import FollowingBank
from tlc_edge.runtime.vectors import unit_rows


@pytest.fixture
def gallery(tmp_path: Path) -> Iterator[Gallery]:
    with Gallery.open(tmp_path / "g", PRINT, WIDTH, create=True) as opened:
        yield opened


def circle(*degrees: float) -> np.ndarray:
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def weights(gallery: Gallery) -> dict[int, int]:
    with sqlite3.connect(gallery.path) as db:
        found = dict(db.execute("SELECT id, stands_for FROM examples"))
    db.close()
    return found


# Who gives way


def test_the_nearly_same_are_merged_first_and_the_rare_view_stays() -> None:
    assert groups(circle(0, 40, 90, 91, 180), [1] * 5, 1) == [[2, 3]]
    assert groups(circle(0, 1, 2, 3, 4, 5, 120), [1] * 7, 5) == [[0, 1, 2, 3, 4, 5]]


def test_those_that_stand_for_many_are_merged_later() -> None:
    assert groups(circle(0, 10, 50, 62), [1, 1, 1, 1], 1) == [[0, 1]]
    assert groups(circle(0, 10, 50, 62), [9, 9, 1, 1], 1) == [[2, 3]]


def test_equals_are_merged_in_their_order_whatever_the_rounding() -> None:
    unit = np.repeat(circle(17.3), 6, axis=0) * (1 + np.arange(6, dtype=np.float32)[:, None] * np.float32(1e-7))
    assert groups(unit, [1] * 6, 1) == [[0, 1]]
    assert groups(unit, [2, 2, 1, 1, 1, 1], 1) == [[2, 3]]


@pytest.mark.parametrize("size", [2, 3, 9, 20])
def test_the_cheapest_pair_is_merged_each_time(size: int) -> None:
    rng = np.random.default_rng(size)
    unit = unit_rows(rng.normal(size=(size, 5)).astype(np.float32))
    weights = rng.integers(1, 9, size).tolist()
    for count in range(size):
        assert groups(unit, weights, count) == _cheapest(unit, weights, count)


def _cheapest(unit: np.ndarray, weights: list[int], count: int) -> list[list[int]]:
    """As the words say it, without any short cut."""
    sums = {(i,): row.astype(np.float64) * n for i, (row, n) in enumerate(zip(unit, weights, strict=True))}
    for _ in range(count):

        def cost(pair: tuple[tuple[int, ...], tuple[int, ...]]) -> float:
            (a, b), (n, m) = (sums[one] for one in pair), (sum(weights[i] for i in one) for one in pair)
            cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
            return float(n * m / (n + m) * max(1 - cosine, 1e-6))

        one, other = min(combinations(sums, 2), key=cost)
        sums[tuple(sorted(one + other))] = sums.pop(one) + sums.pop(other)
    return sorted(list(rows) for rows in sums if len(rows) > 1)


def test_at_least_one_stays() -> None:
    assert groups(circle(0, 10, 20), [1, 1, 1], 9) == [[0, 1, 2]]
    assert groups(circle(0), [1], 1) == []


def test_the_mean_is_by_number_of_the_directions_and_of_the_lengths() -> None:
    vectors = [np.array([100, 0], np.int8), np.array([0, 127], np.int8)]
    mean = mean_of(vectors, [0.02, 0.5], [3, 1])
    length = (3 * 2.0 + 63.5) / 4
    np.testing.assert_allclose(mean.vector, np.array([3, 1]) / np.sqrt(10) * length, rtol=1e-6)
    assert mean.stands_for == 4
    apart = mean_of([np.array([5, 0], np.int8), np.array([-5, 0], np.int8)], [1.0, 1.0], [1, 1])
    np.testing.assert_allclose(apart.vector, [5, 0], rtol=1e-6)  # no direction of their own


@pytest.mark.parametrize(("size", "count", "turn"), [(10, 3, 0), (RUN, 1, 5), (5 * RUN + 7, 100, 3), (2 * RUN, 1, 1)])
def test_runs_share_out_what_goes(size: int, count: int, turn: int) -> None:
    found = runs(size, count, turn)
    assert [i for span, _ in found for i in range(span.start, span.stop)] == list(range(size))
    assert sum(share for _, share in found) == count
    assert all(span.stop - span.start <= RUN and share < span.stop - span.start for span, share in found)


def test_the_largest_classes_make_room_for_the_total() -> None:
    assert Limits(0, 10).excess({"a": 8, "b": 3, "c": 2}) == {"a": 3}
    assert Limits(0, 6).excess({"a": 8, "b": 3, "c": 2}) == {"a": 6, "b": 1}
    assert Limits(2, 0).excess({"a": 8, "b": 3, "c": 2}) == {"a": 6, "b": 1}
    assert Limits(0, 1).excess({"a": 3, "b": 1, "c": 1}) == {"a": 2}
    assert Limits(5, 10).excess({"a": 5, "b": 5}) == {}
    assert Limits(0, 0).excess({"a": 10**6}) == {}


def test_the_usual_limits_are_those_that_are_documented() -> None:
    text = (Path(__file__).parent.parent.parent / "docs" / "gallery.md").read_text()
    assert f"{Limits().per_class:,} per class and {Limits().total:,} in all" in text


# In the gallery


def test_a_full_class_lets_one_go_for_each_that_comes_and_others_are_left_alone(gallery: Gallery) -> None:
    gallery.limit(Limits(3, 0))
    add(gallery, "pen", "p", "q")
    for i in range(6):
        change = add(gallery, "cup", f"{i}")
        assert change.classes == {"cup": min(i + 1, 3), "pen": 2} == gallery.classes()
        assert (change.added, change.gone) == (1, int(i >= 3))
    live = {e.id for e in gallery.examples("cup")}
    assert sum(n for i, n in weights(gallery).items() if i in live) == 6
    assert gallery.check() == []


def test_undo_brings_back_who_gave_way_and_what_they_stood_for(gallery: Gallery) -> None:
    gallery.limit(Limits(4, 7))
    states = []
    for i in range(12):
        states.append((held(gallery), weights(gallery)))
        add(gallery, f"c{i % 2}", *(f"{i}{j}" for j in range(1 + i % 3)))
    for examples, stood_for in reversed(states):
        gallery.undo()
        assert held(gallery) == examples
        now = weights(gallery)
        assert {i: now[i] for i in (e.id for e in gallery.examples())} == {
            i: stood_for[i] for i in (e.id for e in gallery.examples())
        }
    assert held(gallery) == []


def test_more_at_once_than_is_kept(gallery: Gallery) -> None:
    gallery.limit(Limits(5, 0))
    change = add(gallery, "cup", *map(str, range(40)))
    assert (change.added, change.gone, change.classes) == (40, 35, {"cup": 5})
    assert gallery.undo().classes == {}


@pytest.mark.parametrize("kept", [1, 2, 4])
def test_of_a_large_class_fewer_than_it_has_runs_can_stay(gallery: Gallery, kept: int) -> None:
    count = 2 * RUN + 10
    gallery.limit(Limits(0, 0))
    add(gallery, "cup", *map(str, range(count)))
    change = gallery.limit(Limits(kept, 0))
    assert (change.gone, change.classes, gallery.taught()) == (count - kept, {"cup": kept}, {"cup": count})
    assert gallery.undo().classes == {"cup": count}


def test_a_class_that_another_joins_keeps_its_limit(gallery: Gallery) -> None:
    gallery.limit(Limits(4, 0))
    add(gallery, "cup", *map(str, range(4)))
    add(gallery, "mug", *map(str, range(10, 13)))
    change = gallery.rename("mug", "cup", merge=True)
    assert (change.added, change.gone, change.classes, gallery.taught()) == (3, 3, {"cup": 4}, {"cup": 7})
    assert gallery.undo().classes == {"cup": 4, "mug": 3}
    gallery.limit(Limits(2, 0))
    assert gallery.rename("mug", "can").gone == 0


def test_a_lower_limit_holds_at_once_can_be_undone_and_is_remembered(gallery: Gallery) -> None:
    add(gallery, "cup", *map(str, range(10)))
    before = held(gallery)
    assert gallery.limits() == Limits()
    change = gallery.limit(Limits(4, 0))
    assert (change.kind, change.gone, change.classes) == ("limit", 6, {"cup": 4})
    with Gallery.open(gallery.path, PRINT, WIDTH) as other:
        assert other.limits() == Limits(4, 0)
        assert add(other, "cup", "more").classes == {"cup": 4}
        other.undo()
    assert gallery.undo().undone == "limit"
    # The limit goes too: with it, those that came back would go again at the next addition.
    assert (held(gallery), gallery.limits()) == (before, Limits())
    assert add(gallery, "cup", "more").classes == {"cup": 11}
    gallery.undo()
    gallery.limit(Limits(0, 0))
    assert add(gallery, "cup", *map(str, range(100, 1200))).classes == {"cup": 1110}


def test_a_limit_that_is_not_reached_is_undone_by_itself_and_one_that_was_set_already_is_no_operation(
    gallery: Gallery,
) -> None:
    add(gallery, "cup", "a", "b")
    gallery.limit(Limits(2, 2))
    assert gallery.limit(Limits(2, 2)).gone == 0
    assert (gallery.undo().undone, gallery.classes(), gallery.limits()) == ("limit", {"cup": 2}, Limits())
    assert gallery.undo().undone == "add"
    with pytest.raises(UsageError, match="a limit is -1, expected 0"):
        gallery.limit(Limits(-1, 0))


def test_a_damaged_limit_is_damage(gallery: Gallery) -> None:
    add(gallery, "cup", "a")
    with sqlite3.connect(gallery.path) as db:
        db.execute("INSERT INTO meta VALUES ('total', 'many')")
    db.close()
    with pytest.raises(GalleryError, match="damaged"):
        add(gallery, "cup", "b")


def test_a_reader_follows_without_reading_everything_again(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = Exemplars(np.zeros((0, WIDTH), np.float32), np.zeros(0, np.int64))
    following, whole = FollowingBank(Bank(nothing, ())), 0
    bank, clear = following.bank, following.bank.clear

    def counted() -> None:
        nonlocal whole
        whole += 1
        clear()

    monkeypatch.setattr(bank, "clear", counted)
    gallery.limit(Limits(5, 9))
    for i in range(80):
        add(gallery, f"c{i % 3}", f"{i}")
        if i == 60:
            gallery.forget("c0")
        if i % 7 == 3:
            continue  # it may look away for a while
        assert following.follow(gallery)
        assert not following.follow(gallery)  # nothing came since
        expected = gallery.load()
        assert sorted(bank.ids.tolist()) == expected.ids.tolist()
        assert [bank.labels[c] for c in bank.row_class[np.argsort(bank.ids)]] == list(expected.labels)
        query = vectors(f"{i}")[0]
        found = bank.nearest(query, 3)[1]
        np.testing.assert_allclose(
            found, np.sort(unit_rows(expected.vectors) @ unit_rows(query)[0])[::-1][:3], atol=1e-6
        )
    assert whole == 2  # the first time, and after `forget`


def test_a_reader_who_was_away_too_long_reads_everything_again(gallery: Gallery) -> None:
    gallery.limit(Limits(2, 0))
    add(gallery, "cup", "a")
    rows = gallery.load()
    for i in range(60):
        gallery.add("cup", vectors(f"{i}"), [source(f"{i}")])
    assert not gallery.rows_since(rows.cursor()).continues(rows.cursor())
