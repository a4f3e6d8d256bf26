"""The cut: one threshold for all classes, from what a build measured and from what is enrolled."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from tlc_edge.runtime.bundle.bundle import Exemplars
from tlc_edge.runtime.gallery.records import GalleryRows
from tlc_edge.runtime.knn import claims
from tlc_edge.runtime.knn.bank import Bank
from tlc_edge.runtime.knn.cut import LENGTH, Claimed, Cut, Measured, find_cut, knownness_by
from tlc_edge.runtime.knn.unknown import Knownness, find_limits
from tlc_edge.runtime.vectors import quantize_rows, row_lengths, unit_rows

WIDTH, CLASSES, EACH = 16, 4, 20
RNG = np.random.default_rng(0)
CENTRES = RNG.normal(size=(12, WIDTH)) * 2
SHIFT = RNG.normal(size=WIDTH).astype(np.float32)
EXAMPLES = np.array([1, 2, 4])


def drawn(c: int, count: int, seed: int, spread: float = 1.0) -> NDArray[np.float32]:
    rng = np.random.default_rng([c, seed])
    return (CENTRES[c] + spread * rng.normal(size=(count, WIDTH))).astype(np.float32)


def rows_of(ids: NDArray[np.int64], labels: list[str], x: NDArray[np.float32], removed: list[int]) -> GalleryRows:
    rows, scales = quantize_rows(x)
    return GalleryRows(ids, tuple(labels), rows, scales, 0, removed=np.array(removed, np.int64))


def shipped() -> Exemplars:
    x = np.concatenate([drawn(c, EACH, 0) for c in range(CLASSES)])
    rows, scales = quantize_rows(x)
    return Exemplars(unit_rows(rows), np.repeat(np.arange(CLASSES), EACH), row_lengths(rows) * scales)


def bank() -> Bank:
    return Bank(shipped(), tuple(f"base{c}" for c in range(CLASSES)), SHIFT)


def by_hand(of: Bank, embedding: NDArray[np.float32], leave: int | None = None) -> NDArray[np.float64]:
    """What each class claims, from the rows themselves."""
    everything = np.arange(len(of))
    keep = everything != leave
    rows, classes = of.shifted(everything).astype(np.float64)[keep], of.row_class[keep]
    x = (embedding + SHIFT).astype(np.float64)
    x /= np.linalg.norm(x)
    found = np.full(len(of.labels), -np.inf)
    for c in np.unique(classes):
        own = rows[classes == c]
        mean = own.sum(axis=0)
        found[c] = (np.max(own @ x) + mean @ x / np.linalg.norm(mean)) / 2
    return found


def test_a_class_claims_half_by_its_nearest_row_and_half_by_the_mean_of_its_rows() -> None:
    of = bank()
    of.append(rows_of(np.arange(1, 6), ["new"] * 5, drawn(7, 5, 1), []))
    for e in drawn(7, 5, 2):
        near = of.nearby(e, len(of))
        assert near.length == pytest.approx(float(np.linalg.norm(e)), rel=1e-6)
        assert near.claims.tolist() == pytest.approx(by_hand(of, e).tolist(), abs=2e-6)


def test_a_class_with_no_row_among_the_nearest_claims_by_its_mean_alone() -> None:
    of = bank()
    e = drawn(0, 1, 3)[0]
    near = of.nearby(e, 2)
    assert set(near.classes) == {0}
    means = [unit_rows(of.shifted(np.flatnonzero(of.row_class == c)).sum(axis=0, keepdims=True))[0] for c in range(4)]
    x = unit_rows((e + SHIFT)[None])[0]
    assert near.claims[1:].tolist() == pytest.approx([float(means[c] @ x) for c in (1, 2, 3)], abs=2e-6)


def test_samples_are_claimed_without_themselves() -> None:
    of = bank()
    labels = ["new", "base1", "other", "other", "new", "base1"]
    of.append(
        rows_of(np.arange(1, 7), labels, np.concatenate([drawn(c, 1, i) for i, c in enumerate((5, 1, 6, 6, 5, 1))]), [])
    )
    found = of.claimed()
    assert found.exemplars.tolist() == list(range(CLASSES * EACH))
    assert sorted(of.labels[c] for c in found.classes) == sorted(labels)
    order = [
        row
        for c in sorted(set(found.classes.tolist()))
        for row in np.flatnonzero(of.row_class == c).tolist()
        if row >= 80
    ]
    lengths, rows = of._lengths, of.take(np.arange(len(of)))
    for i, row in enumerate(order):
        expected = by_hand(of, rows[row] * lengths[row], leave=row)
        assert found.of_enrolled[i].tolist() == pytest.approx(expected.tolist(), abs=1e-5)
        assert found.lengths[i] == pytest.approx(math.log(float(lengths[row])), abs=1e-5)
    assert np.isinf(found.of_exemplars[:, :CLASSES]).all()
    for row in (0, 79):
        expected = by_hand(of, rows[row] * lengths[row])
        assert found.of_exemplars[row, CLASSES:].tolist() == pytest.approx(expected[CLASSES:].tolist(), abs=1e-5)


def test_the_claims_do_not_depend_on_the_order_of_events(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "ENROLLED", 8)
    monkeypatch.setattr(claims, "_PORTION", 7)
    x = np.concatenate([drawn(5, 9, 1), drawn(6, 9, 1), drawn(1, 9, 1)])
    labels = ["a"] * 9 + ["b"] * 9 + ["base1"] * 9
    whole = bank()
    whole.append(rows_of(np.arange(1, 28), labels, x, []))
    steps = bank()
    mixed = [i for trio in zip(range(9), range(9, 18), range(18, 27), strict=True) for i in trio]
    for at, i in enumerate(mixed):
        steps.append(rows_of(np.array([at + 1]), [labels[i]], x[i : i + 1], []))
        if at % 4 == 0:
            steps.claimed()
    # Some come, and give way again.
    steps.append(rows_of(np.array([100]), ["a"], drawn(8, 1, 5), []))
    steps.claimed()
    again = np.array([101])
    steps.append(rows_of(again, ["a"], drawn(8, 1, 6), [100]))
    steps.claimed()
    whole.append(rows_of(again, ["a"], drawn(8, 1, 6), []))
    one, other = whole.claimed(), steps.claimed()
    names = [whole.labels.index(label) for label in steps.labels]
    assert [whole.labels[c] for c in one.classes] == [steps.labels[c] for c in other.classes]
    assert len(one.classes) <= 8
    np.testing.assert_allclose(one.of_enrolled[:, names], other.of_enrolled, atol=1e-6)
    np.testing.assert_allclose(one.of_exemplars[:, names], other.of_exemplars, atol=1e-6)
    np.testing.assert_allclose(one.lengths, other.lengths, atol=1e-6)


# --- the cut

FEW = np.stack([np.linspace(low, low + 0.5, 11) for low in (0.1, 0.2, 0.4)]).astype(np.float32)
PLAIN = np.linspace(0.5, 0.9, 101).astype(np.float32)[:, None]
NOTHING = Claimed(np.arange(101), np.full((101, 1), -np.inf), np.zeros(0, np.int64), np.zeros((0, 1)), np.zeros(0))


def measured(claimed: NDArray[np.float32] = PLAIN, length: float = 0.0) -> Measured:
    return Measured(EXAMPLES, FEW, claimed, np.full(claimed.shape, length, np.float32))


def cut(of: Measured, rate: float, own: list[int], enrolled: list[int], told: Claimed = NOTHING) -> Cut:
    found = find_cut(of, rate, np.array(own), np.array(enrolled), told)
    assert found is not None
    return found


def _nothing(classes: int) -> Claimed:
    return Claimed(
        np.arange(101), np.full((101, classes), -np.inf), np.zeros(0, np.int64), np.zeros((0, classes)), np.zeros(0)
    )


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.5])
def test_before_anything_is_enrolled_it_is_the_builds_quantile(rate: float) -> None:
    found = cut(measured(), rate, [101], [0])
    assert found.threshold == pytest.approx(0.5 + 0.4 * (rate * 101 - 0.5) / 100, abs=1e-6)
    assert found.offsets.tolist() == [0]
    assert cut(measured(length=2.0), rate, [101], [0]).threshold == pytest.approx(found.threshold - 2 * LENGTH)


def test_a_class_of_few_examples_is_asked_for_less() -> None:
    one, two, many, base = cut(measured(), 0.5, [0, 0, 0, 101], [1, 2, 100, 3], _nothing(4)).offsets.tolist()
    assert (one, two, many, base) == pytest.approx((0.35 - 0.7, 0.45 - 0.7, 0.65 - 0.7, 0.0), abs=1e-6)
    assert cut(measured(), 0.5, [101, 0], [0, 0], _nothing(2)).offsets.tolist() == [0, math.inf]


def test_changed_copies_weigh_a_quarter() -> None:
    changed = np.concatenate([PLAIN, PLAIN - 1, np.full_like(PLAIN, np.nan)], axis=1)
    assert cut(measured(changed), 0.25 / 2, [101], [0]).threshold == pytest.approx(-0.3, abs=0.01)
    assert cut(measured(changed), 0.25 + 0.75 / 2, [101], [0]).threshold == pytest.approx(0.7, abs=0.01)


def test_diverse_classes_that_claim_much_raise_the_cut() -> None:
    quiet, loud = _nothing(2), _nothing(2)
    loud.of_exemplars[:, 1] = 0.6
    before, after = (cut(measured(), 0.05, [101, 0], [0, 4], told).threshold for told in (quiet, loud))
    assert after > before + 0.05
    # By no more than lets 1.6 times the stated rate of the build's images fall below it.
    images = np.maximum(PLAIN[:, 0], 0.6 - cut(measured(), 0.05, [101, 0], [0, 4]).offsets[1])
    assert np.mean(images < after) <= 0.08


def test_enrolled_examples_weigh_half_when_there_are_many_and_little_when_there_are_few() -> None:
    def told(count: int) -> float:
        low = Claimed(
            np.arange(101),
            np.full((101, 2), -np.inf),
            np.ones(count, np.int64),
            np.stack([np.full(count, -np.inf), np.full(count, -0.5)], axis=1),
            np.zeros(count),
        )
        return cut(measured(), 0.1, [101, 0], [0, max(count, 2)], low).threshold

    assert told(0) > told(2) > told(200)
    assert told(200) < -0.3  # a third of all that is known lies there


def test_frames_of_one_scene_and_an_example_alone_say_nothing() -> None:
    def with_claim(claim: float, count: int) -> float:
        of = Claimed(
            np.arange(101), np.full((101, 2), -np.inf), np.ones(9, np.int64), np.full((9, 2), -9.0), np.zeros(9)
        )
        of.of_enrolled[:, 1] = claim
        return cut(measured(), 0.05, [101, 0], [0, count], of).threshold

    usual = cut(measured(), 0.05, [101, 0], [0, 9], _nothing(2)).threshold
    assert with_claim(0.95, 9) == pytest.approx(usual)  # the build never saw more than 0.9
    assert with_claim(0.3, 9) < usual
    assert with_claim(0.3, 1) == pytest.approx(cut(measured(), 0.05, [101, 0], [0, 1], _nothing(2)).threshold)


def test_where_the_build_measured_nothing_all_is_known() -> None:
    nothing = measured(np.full((3, 1), np.nan, np.float32))
    assert find_cut(nothing, 0.05, np.array([3]), np.array([0]), NOTHING) is None
    empty = Measured(EXAMPLES[:0], FEW[:0], np.zeros((0, 5), np.float32), np.zeros((0, 5), np.float32))
    of = Bank(Exemplars(np.zeros((0, WIDTH), np.float32), np.zeros(0, np.int64)), (), SHIFT)
    of.append(rows_of(np.array([1]), ["a"], drawn(5, 1, 1), []))
    limits = find_limits(Knownness(SHIFT, np.zeros(0, np.float32), EXAMPLES[:0], FEW[:0], empty), 0.05, of)
    assert limits.judge(of.nearby(drawn(5, 1, 2)[0], 5))[1] == -math.inf


def test_a_long_embedding_is_less_known() -> None:
    found = Cut(np.array([0.0, np.inf], np.float32), 0.0)
    claims = np.array([0.5, 0.9], np.float32)
    assert knownness_by(found, claims, 1.0) == pytest.approx(0.5)
    assert knownness_by(found, claims, math.e) == pytest.approx(0.5 - LENGTH)


def test_off_and_bundles_of_before_go_by_what_they_went_by() -> None:
    of = bank()
    new = Knownness(SHIFT, PLAIN[:, 0], EXAMPLES, FEW, measured(np.tile(PLAIN[:80], (1, 2))))
    old = Knownness(SHIFT, PLAIN[:, 0], EXAMPLES, FEW)
    near = of.nearby(drawn(0, 1, 9)[0], 5)
    assert find_limits(new, 0.0, of).judge(near)[1] == -math.inf
    assert find_limits(old, 0.05, of).judge(near) == (max(near.knownness), pytest.approx(old.base_threshold(0.05)))
    assert find_limits(new, 0.05, of).judge(near)[0] != max(near.knownness)
