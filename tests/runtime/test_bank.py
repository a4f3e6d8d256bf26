"""The bank: one matrix of unit rows, held to plain numpy however it grew."""

from __future__ import annotations

import numpy as np
import pytest

from tlc_edge.runtime.bundle.bundle import Exemplars
from tlc_edge.runtime.gallery.records import GalleryRows
from tlc_edge.runtime.knn import bank as bank_module
from tlc_edge.runtime.knn.bank import Bank
from tlc_edge.runtime.vectors import unit_rows

WIDTH = 16


def random_rows(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-127, 128, (count, WIDTH)).astype(np.int8)


def exemplars(count: int) -> Exemplars:
    return Exemplars(unit_rows(random_rows(count, 99)), np.arange(count) % 2)


def enrolled(vectors: np.ndarray, labels: list[str], first: int = 1) -> GalleryRows:
    ids = np.arange(first, first + len(labels))
    return GalleryRows(ids, tuple(labels), vectors, np.ones(len(labels), np.float32), 0)


def cosines(rows: np.ndarray, vector: np.ndarray) -> np.ndarray:
    rows, vector = rows.astype(np.float64), vector.astype(np.float64)
    return rows @ vector / np.linalg.norm(rows, axis=1) / np.linalg.norm(vector)


def similarities(bank: Bank, vector: np.ndarray) -> np.ndarray:
    """The cosine to every row, in the order of the rows."""
    rows, found = bank.nearest(vector, len(bank))
    out = np.empty(len(bank), found.dtype)
    out[rows] = found
    return out


def test_a_bank_starts_with_the_bundles_exemplars() -> None:
    bank = Bank(exemplars(4), ("cup", "mug"))
    assert len(bank) == bank.exemplars == 4
    assert bank.labels == ["cup", "mug"]
    assert bank.row_class.tolist() == [0, 1, 0, 1]
    assert bank.ids.tolist() == [0, 0, 0, 0]
    assert bank.enrolled_scores() == []


def test_similarities_are_cosines_whatever_the_lengths() -> None:
    base, rows = exemplars(4), random_rows(7)
    bank = Bank(base, ("cup", "mug"))
    bank.append(enrolled(rows, ["bowl"] * 7))
    vector = np.random.default_rng(1).normal(size=WIDTH).astype(np.float32)
    expected = np.concatenate([cosines(base.vectors, vector), cosines(rows, vector)])
    for scale in (1e-6, 1.0, 1e6):
        found = similarities(bank, vector * np.float32(scale))
        assert found.dtype == np.float32
        assert np.allclose(found, expected, atol=1e-5)


def test_an_embedding_without_direction_is_like_nothing() -> None:
    assert similarities(Bank(exemplars(4), ("cup", "mug")), np.zeros(WIDTH, np.float32)).tolist() == [0, 0, 0, 0]


def test_new_classes_come_behind_the_base_classes_in_the_order_of_enrolment() -> None:
    bank = Bank(exemplars(2), ("cup", "mug"))
    bank.append(enrolled(random_rows(3), ["zebra", "cup", "ant"]))
    bank.append(enrolled(random_rows(2), ["zebra", "bee"], first=9))
    assert bank.labels == ["cup", "mug", "zebra", "ant", "bee"]
    assert bank.row_class.tolist() == [0, 1, 2, 0, 3, 2, 4]
    assert bank.ids.tolist() == [0, 0, 1, 2, 3, 9, 10]


@pytest.mark.parametrize("portions", [[500], [1] * 500, [100, 1, 150, 249]], ids=["at once", "singly", "mixed"])
def test_however_it_grew_it_holds_the_same(portions: list[int]) -> None:
    rows, bank = random_rows(500), Bank(exemplars(3), ("cup", "mug"))
    done = 0
    for count in portions:
        bank.append(enrolled(rows[done : done + count], [f"c{i % 7}" for i in range(done, done + count)], done + 1))
        done += count
    assert len(bank) == 503
    assert bank.ids.tolist() == [0, 0, 0, *range(1, 501)]
    assert bank.row_class.tolist() == [0, 1, 0, *(2 + i % 7 for i in range(500))]
    vector = np.random.default_rng(1).normal(size=WIDTH).astype(np.float32)
    assert np.allclose(similarities(bank, vector)[3:], cosines(rows, vector), atol=1e-5)


def test_clearing_leaves_what_the_bundle_brought() -> None:
    bank = Bank(exemplars(4), ("cup", "mug"))
    vector = np.random.default_rng(1).normal(size=WIDTH).astype(np.float32)
    before = similarities(bank, vector)
    bank.append(enrolled(random_rows(90), ["bowl"] * 90))
    bank.clear()
    assert (bank.labels, len(bank), bank.row_class.tolist()) == (["cup", "mug"], 4, [0, 1, 0, 1])
    assert np.array_equal(similarities(bank, vector), before)
    assert bank.enrolled_scores() == []
    bank.append(enrolled(random_rows(1), ["vase"], first=91))
    assert bank.labels == ["cup", "mug", "vase"]
    assert bank.row_class.tolist() == [0, 1, 0, 1, 2]


def test_appending_nothing_changes_nothing() -> None:
    bank = Bank(exemplars(4), ("cup", "mug"))
    bank.append(enrolled(random_rows(0), []))
    assert (bank.labels, len(bank)) == (["cup", "mug"], 4)


def test_a_bank_without_exemplars_is_empty_until_something_is_enrolled() -> None:
    bank = Bank(Exemplars(np.zeros((0, WIDTH), np.float32), np.zeros(0, np.int64)), ())
    vector = np.ones(WIDTH, np.float32)
    assert similarities(bank, vector).shape == (0,)
    bank.append(enrolled(np.full((1, WIDTH), 7, np.int8), ["mug"]))
    assert similarities(bank, vector) == pytest.approx([1])


def test_enrolled_rows_tell_how_alike_a_class_is() -> None:
    bank = Bank(exemplars(4), ("cup", "mug"))
    rows = np.zeros((3, WIDTH), np.int8)
    rows[:, 0], rows[1, 1] = 100, 100
    bank.append(enrolled(rows, ["bowl"] * 3))
    assert np.allclose(np.concatenate(bank.enrolled_scores()), [1, np.sqrt(0.5), 1])
    bank.append(enrolled(rows[:1], ["vase"], first=4))  # alone in its class: no score
    assert np.allclose(np.concatenate(bank.enrolled_scores()), [1, np.sqrt(0.5), 1])


def test_the_mean_of_a_class_is_that_of_its_unit_rows_however_it_grew() -> None:
    base, rows = exemplars(4), random_rows(60)
    labels = [("cup", "bowl", "vase")[i % 3] for i in range(60)]
    bank = Bank(base, ("cup", "mug"))
    for i in range(0, 60, 7):
        bank.append(enrolled(rows[i : i + 7], labels[i : i + 7], i + 1))
    vector = np.random.default_rng(1).normal(size=WIDTH).astype(np.float32)
    unit, classes = bank.take(np.arange(64)), bank.row_class
    assert bank.labels == ["cup", "mug", "bowl", "vase"]
    means = np.stack([unit[classes == c].mean(axis=0) for c in range(4)])
    near = bank.nearby(vector, 100)
    assert set(near.classes) == {0, 1, 2, 3}
    np.testing.assert_allclose(near.to_means, cosines(means[near.classes], vector), atol=1e-5)
    np.testing.assert_allclose(bank.sums(), np.stack([unit[classes == c].sum(axis=0) for c in range(4)]), atol=1e-5)
    assert [n.tolist() for n in bank.counts()] == [[2, 2, 0, 0], [20, 0, 20, 20]]


@pytest.mark.parametrize("length", [1e-3, 0.05, 1.0, 30.0])
def test_known_ness_is_the_cosine_of_shifted_rows_whatever_their_lengths(length: float) -> None:
    draw = np.random.default_rng(3)
    base = Exemplars(
        unit_rows(random_rows(4, 99)), np.arange(4) % 2, (length * draw.uniform(1, 2, 4)).astype(np.float32)
    )
    shift = (0.3 * length * draw.normal(size=WIDTH)).astype(np.float32)
    bank = Bank(base, ("cup", "mug"), shift)
    rows = random_rows(9)
    scales = (length * draw.uniform(1, 2, 9) / 400).astype(np.float32)
    bank.append(GalleryRows(np.arange(1, 10), ("bowl",) * 9, rows, scales, 0))
    given = np.concatenate([base.vectors * base.lengths[:, None], rows * scales[:, None]]).astype(np.float64)
    vector = (length * draw.normal(size=WIDTH)).astype(np.float32)
    near = bank.nearby(vector, 100)
    np.testing.assert_allclose(near.knownness, cosines(given + shift, vector + shift)[near.rows], atol=1e-5)
    np.testing.assert_allclose(bank.shifted(np.arange(13)), unit_rows((given + shift).astype(np.float32)), atol=1e-5)


@pytest.mark.parametrize(
    ("rows", "width", "free", "many"),
    [
        (bank_module.MANY, 16, float("inf"), False),
        (bank_module.MANY + 1, 16, float("inf"), True),
        (bank_module._PORTION, 10**6, 0.0, False),  # so few are never worth it
        (bank_module._PORTION + 1, 16, 4.0 * (bank_module._PORTION + 1) * 16 * 4, False),
        (bank_module._PORTION + 1, 16, 4.0 * (bank_module._PORTION + 1) * 16 * 4 - 1, True),
    ],
)
def test_when_rows_are_too_many_for_floats(
    rows: int, width: int, free: float, many: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bank_module, "free_memory", lambda: free)
    assert bank_module._too_many(rows, width) == many


def test_what_gave_way_leaves_the_mean_again() -> None:
    rows = random_rows(6)
    bank = Bank(exemplars(2), ("cup", "mug"))
    bank.append(enrolled(rows[:4], ["bowl", "bowl", "vase", "vase"]))
    late = GalleryRows(np.array([5, 6]), ("vase", "hat"), rows[4:], np.ones(2, np.float32), 0, 1, np.array([1, 3]))
    bank.append(late)
    unit = unit_rows(rows)
    expected = {"bowl": unit[1], "vase": unit[3] + unit[4], "hat": unit[5]}
    for label, total in expected.items():
        np.testing.assert_allclose(bank.sums()[bank.labels.index(label)], total, atol=1e-6)
    bank.clear()
    np.testing.assert_allclose(bank.sums(), exemplars(2).vectors, atol=1e-6)


def test_a_class_whose_examples_are_all_gone_has_no_direction() -> None:
    bank = Bank(exemplars(2), ("cup", "mug"))
    bank.append(enrolled(random_rows(1), ["bowl"]))
    gone = GalleryRows(np.array([2]), ("vase",), random_rows(1), np.ones(1, np.float32), 0, 1, np.array([1]))
    bank.append(gone)
    assert np.all(np.isfinite(bank.nearby(np.ones(WIDTH, np.float32), 100).to_means))


def test_means_are_heard_once_something_is_enrolled_of_classes_with_rows() -> None:
    bank, rows = Bank(exemplars(4), ("cup", "mug")), random_rows(3)
    assert bank.heard() is None
    bank.append(enrolled(rows, ["bowl", "bowl", "plate"]))
    assert bank.heard().tolist() == [0, 0, 0, 0]  # type: ignore[union-attr]
    vector = np.random.default_rng(1).normal(size=WIDTH).astype(np.float32)
    means = np.stack([exemplars(4).vectors[i::2].sum(axis=0) for i in (0, 1)])
    means = np.concatenate([means, unit_rows(rows[:2]).sum(axis=0)[None], unit_rows(rows[2:])])
    np.testing.assert_allclose(bank.to_class_means(unit_rows(vector)[0]), cosines(means, vector), atol=1e-5)
    bank.append(GalleryRows(np.array([4]), ("bowl",), rows[:1], np.ones(1, np.float32), 0, removed=np.array([3])))
    assert bank.heard().tolist() == [0, 0, 0, -np.inf]  # type: ignore[union-attr]


def test_no_mean_is_heard_where_a_class_of_the_bundle_has_no_exemplars() -> None:
    bank = Bank(exemplars(1), ("cup", "mug"))
    bank.append(enrolled(random_rows(1), ["bowl"]))
    assert bank.heard() is None
