"""Unknown on the device: thresholds by number of examples, what moves them, and who speaks for an image."""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tlc_edge.runtime import Bundle, BundleError, Classifier, UsageError
from tlc_edge.runtime.bundle.bundle import Exemplars, write_bundle
from tlc_edge.runtime.bundle.manifest import Unknown
from tlc_edge.runtime.gallery.records import GalleryRows
from tlc_edge.runtime.knn.bank import Bank
from tlc_edge.runtime.knn.unknown import (
    KNOWNNESS,
    Knownness,
    checked_rate,
    drift,
    knownness_of,
    pack_knownness,
    read_knownness,
    thresholds,
    without_table,
)

BASE = np.linspace(0.5, 0.9, 101).astype(np.float32)
TABLE = Knownness(
    np.zeros(4, np.float32),
    BASE,
    np.array([1, 2, 4]),
    np.stack([np.linspace(low, low + 0.5, 11) for low in (0.1, 0.2, 0.4)]).astype(np.float32),
)


def asked(knownness: Knownness, rate: float, exemplars: list[int], enrolled: list[int], *left: list[float]) -> list:
    found = [np.array(scores, np.float32) for scores in left]
    return thresholds(knownness, rate, np.array(exemplars), np.array(enrolled), found).tolist()


# --- thresholds


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.5, 0.99])
def test_the_stated_share_of_measured_images_lies_below(rate: float) -> None:
    base, one, two, four = asked(TABLE, rate, [3, 0, 0, 0], [0, 1, 2, 4])
    assert base == pytest.approx(0.5 + 0.4 * rate)
    assert (one, two, four) == pytest.approx(tuple(low + 0.5 * rate for low in (0.1, 0.2, 0.4)))


def test_between_measured_numbers_it_goes_by_their_ratio_and_beyond_them_it_stays() -> None:
    _, two, three, four, many = asked(TABLE, 0.5, [0] * 5, [1, 2, 3, 4, 1000])
    assert three == pytest.approx(two + (four - two) * math.log2(3 / 2))
    assert many == four


def test_a_base_class_with_examples_of_its_own_stays_a_base_class() -> None:
    assert asked(TABLE, 0.05, [3, 3], [0, 7])[0] == asked(TABLE, 0.05, [3, 3], [0, 7])[1]


@given(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=200), st.floats(0.001, 0.999))
def test_no_more_than_the_stated_share_is_called_unknown(scores: list[float], rate: float) -> None:
    line = without_table(Unknown(rate, tuple(scores)), 4).base_threshold(rate)
    assert sum(score < line for score in scores) <= math.ceil(rate * len(scores))


def test_nothing_is_unknown_where_it_is_switched_off_or_nothing_was_measured() -> None:
    nothing = without_table(Unknown(0.05), 4)
    assert asked(TABLE, 0.0, [3, 0], [0, 2]) == [-math.inf] * 2
    assert asked(nothing, 0.05, [3, 0], [0, 2], [0.5, 0.5]) == [-math.inf] * 2


def test_an_early_bundle_holds_enrolled_classes_to_what_it_holds_base_classes_to() -> None:
    early = without_table(Unknown(0.05, tuple(BASE.tolist())), 4)
    assert early.shift.tolist() == [0, 0, 0, 0]
    base, one, ten = asked(early, 0.1, [3, 0, 0], [0, 1, 10])
    assert (one, ten) == (pytest.approx(base), pytest.approx(base))


@pytest.mark.parametrize("rate", [-0.1, 1.0, math.nan])
def test_a_rate_that_is_none(rate: float) -> None:
    with pytest.raises(UsageError, match=rf"the false-alarm rate is {rate}, expected 0 \(off\) up to"):
        checked_rate(rate)
    assert [checked_rate(some) for some in (0.0, 0.01, 0.99)] == [0.0, 0.01, 0.99]


# --- what enrolled examples say


def test_examples_nearer_to_each_other_than_the_build_expected_raise_the_thresholds_of_enrolled_classes() -> None:
    # With two others the build found 0.2 to 0.7, so 0.45 in the middle.
    near, far = [0.6, 0.6, 0.6], [0.25, 0.25, 0.25]
    assert drift(TABLE, [np.array(near, np.float32)]) == pytest.approx(0.15 * 3 / 13, rel=1e-5)
    assert drift(TABLE, [np.array(far, np.float32)]) == pytest.approx(-0.2 * 3 / 13, rel=1e-5)
    plain, raised = asked(TABLE, 0.05, [3, 0], [0, 3]), asked(TABLE, 0.05, [3, 0], [0, 3], near)
    assert raised[0] == plain[0]
    assert raised[1] > plain[1]
    assert asked(TABLE, 0.05, [3, 0], [0, 3], far)[1] < plain[1]


def test_the_more_there_are_the_more_they_count_and_all_classes_count_together() -> None:
    some, many = np.full(3, 0.6, np.float32), [np.full(3, 0.6, np.float32)] * 100
    assert drift(TABLE, [some]) < drift(TABLE, many) < 0.15
    assert drift(TABLE, [some, np.full(3, 0.3, np.float32)]) == pytest.approx(0, abs=0.03)


def test_frames_of_one_scene_are_no_evidence() -> None:
    assert drift(TABLE, [np.full(5, 0.99, np.float32)]) == 0
    assert drift(TABLE, [np.full(3, 0.6, np.float32), np.full(5, 0.99, np.float32)]) == drift(
        TABLE, [np.full(3, 0.6, np.float32)]
    )


def test_a_single_example_and_none_say_nothing() -> None:
    assert drift(TABLE, []) == drift(TABLE, [np.array([0.9], np.float32)]) == drift(TABLE, [BASE[:0]]) == 0


# --- which row speaks


def small_bank(shift: list[float], lengths: list[float]) -> Bank:
    exemplars = Exemplars(np.eye(2, dtype=np.float32), np.array([0, 1]), np.array(lengths, np.float32))
    return Bank(exemplars, ("cup", "pen"), np.array(shift, np.float32))


def speaks(bank: Bank, embedding: list[float], asked: list[float], k: int = 2) -> tuple[float, float]:
    e = np.array(embedding, np.float32)
    return knownness_of(bank.nearby(e, k), asked)


def test_the_row_farthest_above_its_threshold_speaks() -> None:
    bank, e = small_bank([0, 0], [1, 1]), [0.8, 0.6]
    assert speaks(bank, e, [0.7, 0.3]) == pytest.approx((0.6, 0.3))
    assert speaks(bank, e, [0.7, 0.65]) == pytest.approx((0.8, 0.7))
    assert speaks(bank, e, [0.9, 0.65]) == pytest.approx((0.6, 0.65))


def test_where_nothing_is_asked_the_nearest_speaks() -> None:
    bank, off = small_bank([0, 0], [1, 1]), [-math.inf, -math.inf]
    assert speaks(bank, [0.6, 0.8], off) == pytest.approx((0.8, -math.inf))
    assert speaks(small_bank([0, 0], [1, 1]), [0.8, 0.6], off, 1) == pytest.approx((0.8, -math.inf))


@pytest.mark.parametrize("less", [-2.0, -2.5, -9.0])
def test_less_than_any_cosine_is_nothing_asked(less: float) -> None:
    """However little: else the class of which the least is asked would speak for everything."""
    for e in ([0.8, 0.6], [0.6, 0.8], [0.99, 0.1]):
        for other in (-math.inf, -2.0, -0.9, 0.7):
            found = speaks(small_bank([0, 0], [1, 1]), e, [less, other])
            plain = speaks(small_bank([0, 0], [1, 1]), e, [-math.inf, other])
            assert found[0] == plain[0]


def test_no_rows_and_no_direction() -> None:
    empty = Bank(Exemplars(np.zeros((0, 2), np.float32), np.zeros(0, np.int64), None), ())
    assert speaks(empty, [1, 1], []) == (0, -math.inf)
    assert speaks(small_bank([0, 0], [1, 1]), [0, 0], [0.5, 0.5]) == (0, 0.5)


def test_the_shift_counts_embeddings_by_their_own_length() -> None:
    bank = small_bank([1, 1], [2, 0.5])
    moved = np.array([[3, 1], [1, 1.5]]) / np.linalg.norm([[3, 1], [1, 1.5]], axis=1)[:, None]
    np.testing.assert_allclose(bank.shifted(np.array([0, 1])), moved, rtol=1e-6)
    expected = moved @ (np.array([1.3, 1]) / np.linalg.norm([1.3, 1]))
    assert speaks(bank, [0.3, 0], [0.9, 2]) == pytest.approx((expected[0], 0.9), rel=1e-6)


def test_knownness_is_the_cosine_to_the_moved_rows() -> None:
    """It is worked out from the plain cosines; here it is measured."""
    rng = np.random.default_rng(0)
    unit = rng.normal(size=(6, 8))
    unit /= np.linalg.norm(unit, axis=1)[:, None]
    shift = rng.normal(size=8).astype(np.float32)
    own = Exemplars(unit.astype(np.float32), np.zeros(6, np.int64), rng.uniform(0.1, 5, 6).astype(np.float32))
    bank = Bank(own, ("cup",), shift)
    vectors = rng.integers(-127, 128, (5, 8)).astype(np.int8)
    scales = rng.uniform(0.001, 0.1, 5).astype(np.float32)
    bank.append(GalleryRows(np.arange(1, 6), ("hat",) * 5, vectors, scales, 0))
    for e in rng.normal(size=(20, 8)).astype(np.float32):
        near = bank.nearby(e, 7)
        moved = (e + shift) / np.linalg.norm(e + shift)
        np.testing.assert_allclose(near.knownness, bank.shifted(np.array(near.rows)) @ moved, atol=2e-6)


def test_an_embedding_that_the_shift_undoes_has_no_direction() -> None:
    bank = small_bank([1, 1], [1, 1])
    assert speaks(bank, [-1, -1], [0.5, 0.5]) == pytest.approx((0, 0.5), abs=1e-6)


def test_enrolled_rows_are_shifted_as_long_as_they_were() -> None:
    bank = small_bank([1, 1], [1, 1])
    rows = np.array([[127, 0], [0, 127]], np.int8)
    bank.append(GalleryRows(np.array([1, 2]), ("cup", "hat"), rows, np.array([0.01, 0.1], np.float32), 0))
    moved = np.array([[2.27, 1], [1, 13.7]])
    np.testing.assert_allclose(
        bank.shifted(np.array([2, 3])), moved / np.linalg.norm(moved, axis=1)[:, None], rtol=1e-6
    )
    assert [c.tolist() for c in bank.counts()] == [[1, 1, 0], [1, 0, 1]]


# --- the file


def test_the_written_file_is_read_back(built_bundle: Path, tmp_path: Path) -> None:
    bundle = Bundle.open(built_bundle)
    found = read_knownness(bundle)
    assert found.shift.shape == (bundle.manifest.embedding_width,)
    assert np.abs(found.shift).max() > 0
    assert found.examples.tolist() == [1, 2, 3, 5]
    assert np.all(np.diff(found.enrolled, axis=0) >= 0)
    assert np.all(np.diff(found.enrolled, axis=1) >= 0)
    assert found.base.tolist() == sorted(found.base.tolist())
    assert pack_knownness(found) == bundle.read(KNOWNNESS)


def test_what_must_not_pass_is_written_and_read_back(built_bundle: Path, tmp_path: Path) -> None:
    bundle = Bundle.open(built_bundle)
    width = bundle.manifest.embedding_width
    rows = np.random.default_rng(0).normal(size=(3, width)).astype(np.float32)
    with_them = replace(read_knownness(bundle), unwanted=rows)
    found = read_knownness(Bundle.open(changed(bundle, tmp_path / "with.tlc", pack_knownness(with_them)))).unwanted
    assert found is not None
    np.testing.assert_allclose(found, rows, atol=np.abs(rows).max() / 200)
    assert read_knownness(bundle).unwanted is None
    arrays = dict(np.load(io.BytesIO(pack_knownness(with_them))))
    for name, wrong in (
        ("unwanted", arrays["unwanted"][:, 1:]),
        ("unwanted", rows),
        ("unwanted", arrays["unwanted"][:2]),
        ("unwanted_scales", np.full(3, np.nan, np.float32)),
    ):
        path = changed(bundle, tmp_path / f"{name}{wrong.shape}{wrong.dtype}.tlc", npz(**{**arrays, name: wrong}))
        with pytest.raises(BundleError, match="build the bundle again"):
            read_knownness(Bundle.open(path))


def changed(bundle: Bundle, path: Path, data: bytes | None) -> Path:
    files = {k: v for k, v in bundle.files.items() if k not in ("manifest.json", KNOWNNESS)}
    if data is not None:
        files[KNOWNNESS] = data
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    write_bundle(path, replace(bundle.manifest, files=hashes), files)
    return path


def test_a_bundle_without_the_file_still_predicts(bundle: Bundle, photos: Path, tmp_path: Path) -> None:
    with Classifier.open(changed(bundle, tmp_path / "early.tlc", None)) as classifier:
        found = classifier.predict(photos / "0" / "0.png")
    assert found.label == "0"
    assert math.isfinite(found.threshold)


def npz(**arrays: Any) -> bytes:
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "cannot be read"),
        (npz(shift=np.zeros(256)), "cannot be read"),
        (npz(shift=np.zeros(3), examples=np.ones(1), enrolled=np.ones((1, 5))), "does not fit the manifest"),
        (npz(shift=np.zeros(256), examples=np.ones(2), enrolled=np.ones((1, 5))), "does not fit the manifest"),
        (npz(shift=np.zeros(256), examples=np.ones(1), enrolled=np.ones(5)), "does not fit the manifest"),
        (npz(shift=np.zeros(256), examples=np.ones(1), enrolled=np.ones((1, 1))), "does not fit the manifest"),
        (npz(shift=np.zeros(256), examples=np.zeros(1), enrolled=np.ones((1, 5))), "does not fit the manifest"),
        (npz(shift=np.zeros(256), examples=np.array([2, 1]), enrolled=np.ones((2, 5))), "does not fit the manifest"),
        (npz(shift=np.full(256, np.nan), examples=np.ones(1), enrolled=np.ones((1, 5))), "does not fit the manifest"),
    ],
    ids=range(9),
)
def test_a_file_that_cannot_be_used_is_a_bundle_error(
    bundle: Bundle, tmp_path: Path, data: bytes, message: str
) -> None:
    path = changed(bundle, tmp_path / "bad.tlc", data)
    with pytest.raises(BundleError, match=message):
        Classifier.open(path)


# What is measured, and what is wrong about it: all else of the file stays as a build wrote it.
DAMAGED: list[tuple[str, Callable[[NDArray[np.float32]], NDArray[np.float32]]]] = [
    ("few", lambda few: few[0]),
    ("few", lambda few: few[1:]),
    ("few", lambda few: few[:, :1]),
    ("few", lambda few: np.where(np.indices(few.shape)[1] == 1, np.inf, few)),
    ("few", lambda few: np.where(np.indices(few.shape)[0] == 0, np.nan, few)),
    ("claimed", lambda claimed: claimed[:, 0]),
    ("claimed", lambda claimed: claimed[1:]),
    ("claimed", lambda claimed: claimed[:, :-1]),
    ("claimed", lambda claimed: np.where(np.indices(claimed.shape)[1] == 0, np.inf, claimed)),
    ("lengths", lambda lengths: lengths[:, :-1]),
    ("lengths", lambda lengths: lengths.T.copy()),
    ("lengths", lambda lengths: np.full_like(lengths, np.nan)),
    ("both", lambda both: both[1:]),  # other images than the bundle has exemplars
    ("both", lambda both: both[:, :0]),
]


@pytest.mark.parametrize("case", range(len(DAMAGED)))
def test_what_a_build_measured_is_whole_or_an_error(built_bundle: Path, tmp_path: Path, case: int) -> None:
    bundle = Bundle.open(built_bundle)
    name, damage = DAMAGED[case]
    arrays = dict(np.load(io.BytesIO(bundle.read(KNOWNNESS))))
    for one in ("claimed", "lengths") if name == "both" else (name,):
        arrays[one] = damage(arrays[one])
    with pytest.raises(BundleError, match=rf"the claims in {KNOWNNESS} do not fit the bundle; build the bundle again"):
        read_knownness(Bundle.open(changed(bundle, tmp_path / "damaged.tlc", npz(**arrays))))


def test_what_a_build_could_not_measure_may_be_missing(built_bundle: Path, tmp_path: Path) -> None:
    """Looks that an image has not, classes of a few examples, all of it."""
    bundle = Bundle.open(built_bundle)
    arrays = dict(np.load(io.BytesIO(bundle.read(KNOWNNESS))))
    gaps = np.where(np.indices(arrays["claimed"].shape)[1] > 0, np.nan, arrays["claimed"])
    no_classes = {"examples": arrays["examples"][:0], "few": arrays["few"][:0], "enrolled": arrays["enrolled"][:0]}
    for i, more in enumerate(({"claimed": gaps, "lengths": gaps}, no_classes)):
        found = read_knownness(Bundle.open(changed(bundle, tmp_path / f"{i}.tlc", npz(**{**arrays, **more}))))
        assert found.measured is not None
        np.testing.assert_array_equal(found.measured.claimed, {**arrays, **more}["claimed"])
    del arrays["lengths"]
    assert read_knownness(Bundle.open(changed(bundle, tmp_path / "old.tlc", npz(**arrays)))).measured is None


# --- through the classifier


def test_one_example_is_enough_to_be_known_by(
    bundle_path: Path, digits: dict[str, list[np.ndarray]], photos: Path
) -> None:
    with Classifier.open(bundle_path) as classifier:
        before = [classifier.predict(image) for image in digits["7"][1:25]]
        base = classifier.predict(photos / "0" / "0.png")
        classifier.enroll("7", digits["7"][:1])
        after = [classifier.predict(image) for image in digits["7"][1:25]]
        again = classifier.predict(photos / "0" / "0.png")
    assert sum(p.unknown for p in after) < sum(p.unknown for p in before)
    assert sum(p.unknown for p in after) <= 8  # with thresholds from 28 images; the benchmark has the real rate
    assert not base.unknown
    assert not again.unknown
