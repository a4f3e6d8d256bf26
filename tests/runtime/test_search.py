"""The search is exact, whatever the rows look like, however they came, and whichever way they are kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlc_edge.runtime.bundle.bundle import Exemplars
from tlc_edge.runtime.gallery.records import GalleryRows
from tlc_edge.runtime.knn import bank as bank_module
from tlc_edge.runtime.knn import blocks
from tlc_edge.runtime.knn.bank import Bank
from tlc_edge.runtime.knn.blocks import Blocks
from tlc_edge.runtime.knn.bounds import FloatBounds, SmallBounds
from tlc_edge.runtime.knn.leave_one_out import ENOUGH, LeaveOneOut
from tlc_edge.runtime.knn.search import BoundedRows, FloatRows, Rows, highest, principal_axes
from tlc_edge.runtime.vectors import quantize_rows, unit_rows

WIDTH = 32


def leave_one_out(vectors: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Each unit row's cosine to the nearest other row of its class, the plain way."""
    scores = []
    for c in np.unique(classes):
        similar = vectors[classes == c] @ vectors[classes == c].T
        np.fill_diagonal(similar, -1.0)
        scores.append(similar.max(axis=1) if len(similar) > 1 else similar[:0, 0])
    return np.concatenate(scores)


def joined(scores: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(scores) if scores else np.zeros(0, np.float32)


def clusters(count: int, seed: int = 0, spread: float = 0.3) -> np.ndarray:
    """int8 rows around twenty centres that lie in a few dimensions, as embeddings of real images do."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(20, 6)) @ rng.normal(size=(6, WIDTH))
    rows = centres[rng.integers(20, size=count)] + spread * rng.normal(size=(count, WIDTH))
    return quantize_rows(rows.astype(np.float32))[0]


def noise(count: int) -> np.ndarray:
    """int8 rows without any structure, for which no bound is of use."""
    return quantize_rows(np.random.default_rng(1).normal(size=(count, WIDTH)).astype(np.float32))[0]


def gallery_rows(vectors: np.ndarray, labels: list[str], first: int = 1, removed: tuple[int, ...] = ()) -> GalleryRows:
    ids = np.arange(first, first + len(vectors))
    return GalleryRows(ids, tuple(labels), vectors, np.ones(len(vectors), np.float32), 0, 1, np.array(removed, int))


def exemplars(count: int = 12) -> Exemplars:
    return Exemplars(unit_rows(clusters(count, seed=9)), np.arange(count) % 3)


def filled(kind: str, vectors: np.ndarray) -> Rows:
    unit = unit_rows(vectors)
    axes = principal_axes(unit[:200], 6)
    rows: Rows = FloatRows(WIDTH) if kind == "float" else BoundedRows(axes, on_disk=kind == "on disk")
    rows.append(unit)
    return rows


@pytest.mark.parametrize("kind", ["float", "bounded", "on disk"])
@pytest.mark.parametrize("vectors", [clusters(5000), noise(5000), clusters(1023), clusters(3)], ids=len)
@pytest.mark.parametrize("k", [1, 5, 40])
def test_the_nearest_are_those_of_the_full_product(kind: str, vectors: np.ndarray, k: int) -> None:
    rows = filled(kind, vectors)
    assert len(rows) == len(vectors)
    for query in unit_rows(np.concatenate([clusters(8, seed=3), noise(8)])):
        expected = unit_rows(vectors) @ query
        found, products = rows.nearest(query, k)
        assert len(set(found.tolist())) == len(found) == min(k, len(vectors))
        np.testing.assert_allclose(products, np.sort(expected)[::-1][:k], atol=2e-6)
        np.testing.assert_allclose(products, expected[found], atol=2e-6)
        np.testing.assert_allclose(rows.products(query), expected, atol=2e-6)


@pytest.mark.parametrize("on_disk", [False, True])
def test_the_bound_holds_for_classes_that_its_axes_never_saw(on_disk: bool) -> None:
    axes = principal_axes(unit_rows(clusters(200, seed=1)), 6)
    rows, vectors = BoundedRows(axes, on_disk=on_disk), np.concatenate([clusters(3000, seed=1), clusters(3000, seed=2)])
    rows.append(unit_rows(vectors))
    for query in unit_rows(clusters(30, seed=2)):
        _, products = rows.nearest(query, 5)
        np.testing.assert_allclose(products, np.sort(unit_rows(vectors) @ query)[::-1][:5], atol=2e-6)


@pytest.mark.parametrize("kind", ["float", "bounded", "on disk"])
@pytest.mark.parametrize("k", [3, 20])
def test_the_earlier_row_wins_a_tie(kind: str, k: int) -> None:
    vectors = clusters(4000)
    twins = np.arange(100, 4000, 100)
    vectors[twins] = vectors[100]
    found, products = filled(kind, vectors).nearest(unit_rows(vectors[100])[0], k)
    assert found.tolist() == twins[:k].tolist()
    assert products[0] == products[-1]


@pytest.mark.parametrize("kind", ["float", "bounded", "on disk"])
def test_a_query_without_direction_is_near_to_nothing(kind: str) -> None:
    found, products = filled(kind, clusters(3000)).nearest(np.zeros(WIDTH, np.float32), 4)
    assert (found.tolist(), products.tolist()) == ([0, 1, 2, 3], [0, 0, 0, 0])


@pytest.mark.parametrize("kind", ["float", "bounded", "on disk"])
def test_a_row_without_direction_is_near_to_nothing_and_hides_no_other(kind: str) -> None:
    vectors = clusters(3000)
    vectors[[0, 7, 2999]] = 0
    rows = filled(kind, vectors)
    assert not rows.take(np.array([0, 7, 2999])).any()
    for query in unit_rows(clusters(8, seed=3)):
        expected = unit_rows(vectors) @ query
        found, products = rows.nearest(query, 5)
        np.testing.assert_allclose(products, np.sort(expected)[::-1][:5], atol=2e-6)
        assert set(found.tolist()).isdisjoint({0, 7, 2999})
        assert rows.products(query)[[0, 7, 2999]].tolist() == [0, 0, 0]


@pytest.mark.parametrize("kind", ["float", "bounded", "on disk"])
def test_a_row_that_is_put_replaces_one_and_no_other(kind: str) -> None:
    vectors, new = clusters(2000), noise(1)
    rows = filled(kind, vectors)
    rows.put(700, unit_rows(new)[0])
    assert rows.nearest(unit_rows(new)[0], 1)[0].tolist() == [700]
    vectors[700] = new[0]
    np.testing.assert_allclose(rows.take(np.arange(2000)), unit_rows(vectors), atol=1e-6)


@pytest.mark.parametrize("vectors", [clusters(3000), noise(3000)], ids=["clusters", "noise"])
def test_small_bounds_are_bounds_and_not_much_wider(vectors: np.ndarray) -> None:
    unit = unit_rows(vectors)
    axes = principal_axes(unit[:200], 6)
    wide, small = FloatBounds(6), SmallBounds(6)
    lead = unit @ axes.T
    rest = np.sqrt(np.maximum(0, 1 - np.square(lead).sum(axis=1)))
    for bounds in (wide, small):
        bounds.append(lead, rest)
        bounds.put(17, lead[17:18], rest[17:18])
    for query in unit_rows(clusters(8, seed=3)):
        part = axes @ query
        left = float(np.sqrt(max(0.0, 1 - float(part @ part))))
        one, other = wide.upper(part, left), small.upper(part, left)
        assert np.all(other >= unit @ query - 1e-6)
        assert np.all(other >= one - 1e-6)
        assert np.all(other <= one + 0.02)


def test_rows_on_disk_are_in_no_file_that_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "_ON_DISK", str(tmp_path))
    rows = filled("on disk", clusters(2000))
    assert list(tmp_path.iterdir()) == []
    assert len(rows) == 2000


def test_int8_rows_go_through_unit_length_and_back_to_the_bit() -> None:
    vectors = np.concatenate([clusters(2000), noise(2000)])
    assert np.array_equal(quantize_rows(unit_rows(vectors))[0], vectors)
    assert quantize_rows(np.zeros((1, 4), np.float32))[0].tolist() == [[0, 0, 0, 0]]


def test_the_earlier_row_wins_a_tie_wherever_the_cut_falls() -> None:
    similarities = np.array([0.5, 0.9, 0.5, 0.9, 0.5, 0.5, 0.9], np.float32)
    order = [1, 3, 6, 0, 2, 4, 5]
    for k in range(1, 9):
        assert highest(similarities, k).tolist() == order[:k]


@given(st.lists(st.sampled_from([-1.0, 0.0, 0.25, 0.5, 1.0]), max_size=40), st.integers(1, 45))
def test_the_highest_are_those_of_a_stable_sort(similarities: list[float], k: int) -> None:
    values = np.array(similarities, np.float32)
    assert highest(values, k).tolist() == np.argsort(-values, kind="stable")[:k].tolist()


def test_highest_leaves_the_values_as_they_were() -> None:
    values = np.random.default_rng(0).normal(size=500).astype(np.float32)
    before = values.copy()
    assert highest(values, 5).tolist() == np.argsort(-before, kind="stable")[:5].tolist()
    assert highest(values, 100).tolist() == np.argsort(-before, kind="stable")[:100].tolist()
    assert np.array_equal(values, before)
    assert highest(values[:0], 5).tolist() == []


def test_blocks_hold_rows_across_their_borders() -> None:
    wide = Blocks(1 << 17, np.uint8)  # 256 rows per block
    rows = np.repeat(np.arange(600) % 251, 1 << 17).astype(np.uint8).reshape(600, 1 << 17)
    wide.append(rows[:10])
    wide.append(rows[10:])
    assert [(s.start, s.stop, len(b)) for s, b in wide.spans()] == [(0, 256, 256), (256, 512, 256), (512, 600, 88)]
    chosen = np.array([599, 0, 255, 256, 511, 512])
    assert np.array_equal(wide.take(chosen), rows[chosen])


# The bank


def ranking(bank: Bank, query: np.ndarray, k: int = 5) -> list[tuple[str, int, float]]:
    rows, similarities = bank.nearest(query, k)
    return [
        (bank.labels[bank.row_class[r]], int(bank.ids[r]), round(float(s), 5))
        for r, s in zip(rows.tolist(), similarities.tolist(), strict=True)
    ]


def test_rows_that_came_one_by_one_answer_like_those_that_came_together() -> None:
    vectors, labels = clusters(300), [f"c{i % 7}" for i in range(300)]
    together, singly = Bank(exemplars(), ("a", "b", "c")), Bank(exemplars(), ("a", "b", "c"))
    together.append(gallery_rows(vectors, labels))
    for i in range(300):
        singly.append(gallery_rows(vectors[i : i + 1], labels[i : i + 1], first=i + 1))
    assert together.labels == singly.labels == ["a", "b", "c", *(f"c{i}" for i in range(7))]
    for query in clusters(20, seed=5).astype(np.float32):
        assert ranking(together, query) == ranking(singly, query)
    np.testing.assert_allclose(
        np.sort(joined(together.enrolled_scores())), np.sort(joined(singly.enrolled_scores())), atol=1e-6
    )


def test_a_cleared_bank_has_its_exemplars_only() -> None:
    bank = Bank(exemplars(), ("a", "b", "c"))
    before = ranking(bank, clusters(1)[0].astype(np.float32))
    bank.append(gallery_rows(clusters(30), ["new"] * 30))
    assert len(bank) == 42
    bank.clear()
    assert (len(bank), bank.labels, bank.enrolled_scores()) == (12, ["a", "b", "c"], [])
    assert ranking(bank, clusters(1)[0].astype(np.float32)) == before


def test_new_rows_take_the_places_of_removed_ones() -> None:
    vectors = clusters(50)
    bank = Bank(exemplars(), ("a", "b", "c"))
    bank.append(gallery_rows(vectors[:40], ["new"] * 20 + ["other"] * 20))
    bank.append(gallery_rows(vectors[40:], ["new"] * 10, first=41, removed=(3, 5, 30)))
    assert len(bank) == 12 + 40 + 10 - 3
    assert sorted(bank.ids[12:].tolist()) == [i for i in range(1, 51) if i not in (3, 5, 30)]
    kept = np.array([i - 1 for i in range(1, 51) if i not in (3, 5, 30)])
    classes = np.array([0 if i < 20 or i >= 40 else 1 for i in range(50)])
    expected = leave_one_out(unit_rows(vectors[kept]), classes[kept])
    np.testing.assert_allclose(np.sort(joined(bank.enrolled_scores())), np.sort(expected), atol=1e-6)
    for i in kept:
        assert ranking(bank, vectors[i].astype(np.float32), 1)[0][1] == i + 1
    assert all(e[1] not in (3, 5, 30) for i in (2, 4, 29) for e in ranking(bank, vectors[i].astype(np.float32), 59))


def test_a_large_bank_and_one_short_of_memory_answer_like_a_small_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    vectors, labels = clusters(6000), [f"c{i % 7}" for i in range(6000)]

    def loaded() -> Bank:
        bank = Bank(exemplars(), ("a", "b", "c"))
        bank.append(gallery_rows(vectors[:5990], labels[:5990]))
        bank.append(gallery_rows(vectors[5990:], labels[5990:], first=5991, removed=(17, 18)))
        return bank

    small = loaded()
    monkeypatch.setattr(bank_module, "MANY", 5000)
    large = loaded()
    monkeypatch.setattr(bank_module, "MANY", 20_000)
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 9 kB\nMemAvailable:    900 kB\n")
    monkeypatch.setattr(bank_module, "_MEMINFO", meminfo)
    short = loaded()
    assert [type(b._rows) for b in (small, large, short)] == [FloatRows, BoundedRows, BoundedRows]
    for query in clusters(20, seed=5).astype(np.float32):
        for other in (large, short):
            np.testing.assert_allclose(
                [s for *_, s in ranking(other, query)], [s for *_, s in ranking(small, query)], atol=2e-5
            )
            for k in (1, len(small)):  # through the bound, and every row
                np.testing.assert_allclose(other.nearest(query, k)[1], small.nearest(query, k)[1], atol=2e-6)
    np.testing.assert_allclose(joined(large.enrolled_scores()), joined(small.enrolled_scores()), atol=2e-6)
    meminfo.write_text("nothing that is known\n")
    assert type(loaded()._rows) is FloatRows


# Left out


@pytest.mark.parametrize("count", [2, ENOUGH, ENOUGH + 1, 3 * ENOUGH])
def test_scores_kept_up_to_date_are_those_measured_at_once(count: int) -> None:
    unit = unit_rows(clusters(count))
    rows = FloatRows(WIDTH)
    grown = LeaveOneOut(rows)
    for i in range(count):
        rows.append(unit[i : i + 1])
        grown.add([(i, 0)])
    at_once = LeaveOneOut(rows)
    at_once.add([(i, 0) for i in range(count)])
    np.testing.assert_allclose(joined(grown.scores()), joined(at_once.scores()), atol=1e-6)
    if count <= ENOUGH:
        np.testing.assert_allclose(joined(grown.scores()), leave_one_out(unit, np.zeros(count, np.int64)), atol=1e-6)
    assert ENOUGH / 2 < len(joined(grown.scores())) <= ENOUGH or count < ENOUGH
    grown.remove(1, 0)
    again = LeaveOneOut(rows)
    again.add([(i, 0) for i in range(count) if i != 1])
    np.testing.assert_allclose(joined(grown.scores()), joined(again.scores()), atol=1e-6)


def test_a_row_alone_in_its_class_gives_no_score_until_another_comes() -> None:
    rows = FloatRows(WIDTH)
    rows.append(unit_rows(clusters(3)))
    left = LeaveOneOut(rows)
    left.add([(0, 4), (1, 5)])
    assert joined(left.scores()).tolist() == []
    left.add([(2, 5)])
    assert joined(left.scores()).tolist() == pytest.approx(
        [float(rows.take(np.array([1]))[0] @ rows.take(np.array([2]))[0])] * 2
    )
