"""What enrolment takes from the base classes, counted on the bundle's exemplars."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tlc_edge.runtime import Classifier
from tlc_edge.runtime.bundle.bundle import Exemplars
from tlc_edge.runtime.bundle.manifest import Decision
from tlc_edge.runtime.gallery.records import GalleryRows
from tlc_edge.runtime.knn import base_check
from tlc_edge.runtime.knn.bank import Bank
from tlc_edge.runtime.knn.base_check import taken, turned_away
from tlc_edge.runtime.labels import NONE_OF_THESE
from tlc_edge.runtime.vectors import unit_rows

DECISION = Decision(3, 0.05, 0.5)


def at(*degrees: float) -> np.ndarray:
    angles = np.radians(degrees)
    return (100 * np.stack([np.cos(angles), np.sin(angles)], axis=1)).round().astype(np.int8)


def bank(*degrees: float, classes: list[int]) -> Bank:
    names = tuple("abcdef"[: max(classes) + 1])
    return Bank(Exemplars(unit_rows(at(*degrees)), np.array(classes)), names)


def enroll(to: Bank, label: str, *degrees: float) -> None:
    first = int(to.ids.max(initial=0)) + 1
    ids, names = np.arange(first, first + len(degrees)), (label,) * len(degrees)
    to.append(GalleryRows(ids, names, at(*degrees), np.ones(len(degrees), np.float32), 0))


def test_a_class_far_from_all_takes_nothing() -> None:
    found = bank(0, 5, 10, 90, 95, 100, classes=[0, 0, 0, 1, 1, 1])
    assert taken(found, DECISION) == (6, 0)
    enroll(found, "new", 180, 185)
    assert taken(found, DECISION) == (6, 0)


def test_a_class_among_the_exemplars_takes_those_that_it_lies_between() -> None:
    found = bank(0, 38, 42, 80, 180, 185, 190, classes=[0, 0, 0, 0, 1, 1, 1])
    enroll(found, "new", 1, 2)
    assert taken(found, DECISION) == (7, 1)
    enroll(found, "other", 79, 81)
    assert taken(found, DECISION) == (7, 2)


def test_more_examples_of_a_base_class_take_nothing_from_it() -> None:
    found = bank(0, 40, 80, 180, 185, 190, classes=[0, 0, 0, 1, 1, 1])
    enroll(found, "a", 1, 2, 79, 81)
    alone = Decision(3, 0.05, 0.0)  # no word of the mean, which lies at 40 degrees
    assert taken(found, alone) == (6, 0)
    enroll(found, "b", 39, 41)
    assert taken(found, alone) == (6, 1)


def test_an_exemplar_alone_in_its_class_is_not_tried() -> None:
    found = bank(0, 5, 90, classes=[0, 0, 1])
    enroll(found, "new", 90, 91)
    assert taken(found, DECISION) == (2, 0)
    enroll(found, "b", 92)
    assert taken(found, DECISION)[0] == 3


def test_a_bundle_without_exemplars_has_none_to_lose() -> None:
    found = Bank(Exemplars(np.zeros((0, 2), np.float32), np.zeros(0, np.int64)), ())
    enroll(found, "new", 1, 2)
    assert taken(found, DECISION) == (0, 0)


def test_of_very_many_exemplars_some_are_tried() -> None:
    degrees = np.linspace(0, 90, 1000)
    found = bank(*degrees, classes=[int(d > 45) for d in degrees])
    assert taken(found, DECISION) == (300, 0)
    assert turned_away(found) == (300, 0)


@pytest.mark.parametrize("end", [0, -1])
def test_those_that_are_tried_reach_from_the_first_to_the_last(monkeypatch: pytest.MonkeyPatch, end: int) -> None:
    monkeypatch.setattr(base_check, "_MOST", 2)
    degrees = [0, 38, 42, 80, 180, 185, 190][:: 1 if end == 0 else -1]
    classes = [0, 0, 0, 0, 1, 1, 1] if end == 0 else [0, 0, 0, 1, 1, 1, 1]
    found = bank(*degrees, classes=classes)
    enroll(found, "new", 1, 2)
    assert taken(found, DECISION) == (2, 1)  # the one at 0 degrees
    found = bank(*degrees, classes=classes)
    enroll(found, NONE_OF_THESE, 0)
    assert turned_away(found) == (2, 1)


def test_enrolling_tells_before_and_after_when_asked(
    bundle_path: Path, digits: dict[str, list[np.ndarray]], photos: Path
) -> None:
    with Classifier.open(bundle_path) as classifier:
        assert classifier.enroll("7", digits["7"][:2]).base is None
        first = classifier.enroll("nine", digits["9"][:2], check_base=True).base
        worst = classifier.enroll("copies", sorted((photos / "0").iterdir()), check_base=True).base
    assert first is not None
    assert worst is not None
    assert first.exemplars == worst.exemplars == 28
    assert worst.before == first.after
    assert worst.after >= worst.before + 4  # the very images of class 0, under another name


@pytest.mark.parametrize("mean", [0.0, 0.5, 1.0])
def test_it_is_the_same_however_often_it_is_asked(mean: float) -> None:
    found = bank(0, 40, 80, 180, 185, 190, classes=[0, 0, 0, 1, 1, 1])
    enroll(found, "new", 1, 60, 100)
    assert taken(found, Decision(3, 0.05, mean)) == taken(found, Decision(3, 0.05, mean))
