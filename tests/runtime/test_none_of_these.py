"""None of these: examples of what must not pass for known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tlc_edge.runtime import Classifier
from tlc_edge.runtime.bundle.bundle import Exemplars
from tlc_edge.runtime.gallery.limits import Limits
from tlc_edge.runtime.gallery.records import GalleryRows
from tlc_edge.runtime.knn.bank import Bank
from tlc_edge.runtime.knn.base_check import turned_away
from tlc_edge.runtime.knn.unknown import is_unwanted
from tlc_edge.runtime.labels import NONE_OF_THESE
from tlc_edge.runtime.vectors import quantize_rows, unit_rows

WIDTH = 8
RNG = np.random.default_rng(0)
CENTRES = RNG.normal(size=(4, WIDTH)) * 3
SHIFT = RNG.normal(size=WIDTH).astype(np.float32)


def drawn(c: int, count: int, seed: int) -> NDArray[np.float32]:
    return (CENTRES[c] + 0.5 * np.random.default_rng([c, seed]).normal(size=(count, WIDTH))).astype(np.float32)


def rows_of(first: int, label: str, x: NDArray[np.float32], removed: tuple[int, ...] = ()) -> GalleryRows:
    rows, scales = quantize_rows(x)
    ids = np.arange(first, first + len(x))
    return GalleryRows(ids, (label,) * len(x), rows, scales, 0, removed=np.array(removed, np.int64))


def bank(labels: tuple[str, ...] = ("a", "b")) -> Bank:
    x = np.concatenate([drawn(0, 6, 0), drawn(1, 6, 0)])
    return Bank(
        Exemplars(unit_rows(x), np.repeat([0, 1], 6), np.linalg.norm(x, axis=1).astype(np.float32)), labels, SHIFT
    )


def away(of: Bank, c: int) -> list[bool]:
    return [is_unwanted(of.nearby(e, 5)) for e in drawn(c, 10, 9)]


def test_what_is_like_them_is_turned_away_and_nothing_else() -> None:
    of = bank()
    assert not any(away(of, 0) + away(of, 2))
    of.append(rows_of(1, NONE_OF_THESE, drawn(2, 3, 1)))
    assert all(away(of, 2))
    assert not any(away(of, 0) + away(of, 1))
    assert turned_away(of) == (12, 0)


def test_they_are_of_no_class_and_none_is_a_neighbour() -> None:
    of, plain = bank(), bank()
    of.append(rows_of(1, NONE_OF_THESE, drawn(2, 3, 1)))
    assert (of.labels, len(of), of.ids.tolist()) == (plain.labels, len(plain), plain.ids.tolist())
    for e in drawn(2, 3, 5):
        one, other = of.nearby(e, 5), plain.nearby(e, 5)
        assert (one.rows, one.cosines, one.claims.tolist()) == (other.rows, other.cosines, other.claims.tolist())


def test_they_cost_false_alarms_where_they_are_like_what_is_known() -> None:
    of = bank()
    of.append(rows_of(1, "c", drawn(3, 4, 1)))
    of.append(rows_of(5, NONE_OF_THESE, drawn(3, 1, 1)))  # an enrolled example itself
    tried, turned = turned_away(of)
    assert tried == 16
    assert 1 <= turned <= 4


def test_they_come_and_go_with_rows_of_classes() -> None:
    of = bank()
    of.append(rows_of(1, "c", drawn(3, 2, 1)))
    of.append(rows_of(3, NONE_OF_THESE, drawn(2, 2, 1)))
    both = rows_of(5, NONE_OF_THESE, drawn(2, 1, 2), (1, 3))
    assert not of.can_take(both)  # a row of a class goes, and none comes
    assert of.can_take(rows_of(5, NONE_OF_THESE, drawn(2, 1, 2), (3,)))
    of.append(rows_of(5, "c", drawn(3, 1, 2), (1, 3, 4)))
    assert (sorted(of.ids.tolist())[-2:], len(of.unwanted())) == ([2, 5], 0)
    assert not any(away(of, 2))
    of.append(rows_of(6, NONE_OF_THESE, drawn(2, 2, 1)))
    of.clear()
    assert not len(of.unwanted())


def test_a_bundles_own_class_of_that_name_is_a_class() -> None:
    of = bank(("a", NONE_OF_THESE))
    of.append(rows_of(1, NONE_OF_THESE, drawn(1, 2, 1)))
    assert (len(of), len(of.unwanted())) == (14, 0)


def test_what_a_bundle_brings_stays_whatever_is_taken_back() -> None:
    x = np.concatenate([drawn(0, 6, 0), drawn(1, 6, 0)])
    exemplars = Exemplars(unit_rows(x), np.repeat([0, 1], 6), np.linalg.norm(x, axis=1).astype(np.float32))
    brought, taught = Bank(exemplars, ("a", "b"), SHIFT, drawn(2, 3, 1)), bank()
    taught.append(rows_of(1, NONE_OF_THESE, drawn(2, 3, 1)))
    np.testing.assert_allclose(brought.unwanted(), taught.unwanted(), atol=0.02)
    assert all(away(brought, 2))
    assert not any(away(brought, 0) + away(brought, 1) + away(brought, 3))
    brought.append(rows_of(1, NONE_OF_THESE, drawn(3, 3, 1)))
    assert all(away(brought, 3))
    none = np.zeros((0, WIDTH), np.int8)
    gone = np.arange(1, 4)
    brought.append(GalleryRows(gone[:0], (), none, np.zeros(0, np.float32), 0, removed=gone))
    assert (len(brought.unwanted()), any(away(brought, 3)), all(away(brought, 2))) == (3, False, True)
    brought.clear()
    assert all(away(brought, 2))


# --- through the classifier


def enrolled(classifier: Classifier) -> dict[str, int]:
    return {label: count for label, count in classifier.classes().items() if count}


@pytest.fixture
def stripes(tmp_path: Path) -> list[Path]:
    """Pictures of one kind that the bundle knows nothing of."""
    found: list[Path] = []
    for i in range(4):
        picture = np.zeros((32, 32), np.uint8)
        picture[:, i::4] = 255
        path = tmp_path / f"stripes{i}.png"
        Image.fromarray(picture).save(path)
        found.append(path)
    return found


def test_enrolled_they_are_unknown_until_it_is_undone(bundle_path: Path, stripes: list[Path], photos: Path) -> None:
    with Classifier.open(bundle_path, unknown=0.0) as classifier:
        assert not classifier.predict(stripes[0]).unknown
        change = classifier.enroll_not(stripes, check_base=True)
        assert change.turned_away is not None
        assert change.turned_away.before == 0
        assert change.classes == {NONE_OF_THESE: 4}
        found = classifier.predict(stripes[0])
        assert (found.unknown, found.none_of_these) == (True, True)
        assert NONE_OF_THESE not in [r.label for r in found.ranked]
        known = classifier.predict(photos / "0" / "0.png")
        assert (known.unknown, known.none_of_these) == (False, False)
        classifier.undo()
        assert not classifier.predict(stripes[0]).unknown


def test_they_follow_another_process_and_give_way_to_limits_and_become_a_class(
    bundle_path: Path, stripes: list[Path], photos: Path
) -> None:
    with Classifier.open(bundle_path, unknown=0.0) as one, Classifier.open(bundle_path, unknown=0.0) as other:
        other.enroll("7", [photos / "0" / "1.png", photos / "0" / "2.png"])
        other.enroll_not(stripes[:3])
        assert one.predict(stripes[0]).none_of_these
        with other._taught.changing() as gallery:
            gallery.limit(Limits(1, 0))
        other.enroll_not(stripes[3:])
        assert enrolled(one) == {"7": 1, NONE_OF_THESE: 1}
        assert len(one._taught._enrolled.bank.unwanted()) <= 4
        one.predict(stripes[0])
        assert len(one._taught._enrolled.bank.unwanted()) == 1
        other.rename(NONE_OF_THESE, "stripes")
        found = one.predict(stripes[3])
        assert not found.none_of_these
        assert "stripes" in [r.label for r in found.ranked]
        other.forget("stripes")
        assert enrolled(one) == {"7": 1}
