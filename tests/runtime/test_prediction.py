"""A prediction of one image: what the head says and what is stored, put together and told."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from tlc_edge.runtime.bundle.bundle import Exemplars
from tlc_edge.runtime.bundle.manifest import Decision, Unknown
from tlc_edge.runtime.errors import GalleryError
from tlc_edge.runtime.gallery.records import GalleryRows
from tlc_edge.runtime.knn.bank import Bank
from tlc_edge.runtime.knn.decision import decide
from tlc_edge.runtime.knn.prediction import Prediction, answer, basis
from tlc_edge.runtime.knn.unknown import Knownness, without_table
from tlc_edge.runtime.labels import NONE_OF_THESE
from tlc_edge.runtime.vectors import unit_rows

DECISION = Decision(3, 0.05, 0.5)
KNOWN = without_table(Unknown(0.05, tuple(np.linspace(0.85, 1.0, 31).tolist())), 2)
NOTHING = np.zeros(0, np.float32)


def at(*degrees: float) -> np.ndarray:
    angles = np.radians(degrees)
    return (100 * np.stack([np.cos(angles), np.sin(angles)], axis=1)).round().astype(np.int8)


def toward(degrees: float) -> np.ndarray:
    return 3 * np.array([math.cos(math.radians(degrees)), math.sin(math.radians(degrees))], np.float32)


def enroll(to: Bank, label: str, *degrees: float) -> None:
    ids = np.arange(len(to) + 1, len(to) + 1 + len(degrees))
    to.append(GalleryRows(ids, (label,) * len(degrees), at(*degrees), np.ones(len(degrees), np.float32), 0))


@pytest.fixture
def bank() -> Bank:
    """Cups around 0 degrees, pens around 90."""
    exemplars = Exemplars(unit_rows(at(-5, 0, 5, 85, 90, 95)), np.array([0, 0, 0, 1, 1, 1]))
    return Bank(exemplars, ("cup", "pen"))


def asked(
    of: Bank,
    degrees: float,
    head: list[float],
    rate: float = 0.0,
    decision: Decision = DECISION,
    known: Knownness = KNOWN,
) -> Prediction:
    return answer(np.array(head, np.float32), toward(degrees), basis(of, decision, known, rate), {"inference": 7.0})


def test_the_head_alone_speaks_while_nothing_is_enrolled(bank: Bank) -> None:
    found = asked(bank, 10, [0.8, 0.2])
    assert (found.label, found.source, found.unknown, found.none_of_these) == ("cup", "head", False, False)
    assert [r.label for r in found.ranked] == ["cup", "pen"]
    assert [r.score for r in found.ranked] == pytest.approx([0.8, 0.2])
    assert asked(bank, 10, [0.2, 0.8]).label == "pen"
    assert [r.label for r in asked(bank, 10, [0.5, 0.5]).ranked] == ["cup", "pen"]  # of equals the earlier class


def test_what_is_near_is_told_with_its_number_and_its_cosine(bank: Bank) -> None:
    enroll(bank, "hat", 180, 184)
    found = asked(bank, 181, [0.5, 0.5])
    assert [(n.id, n.label) for n in found.neighbours] == [(7, "hat"), (8, "hat"), (0, "pen")]
    cosines = [math.cos(math.radians(d)) for d in (1, 3, 86)]
    assert [n.similarity for n in found.neighbours] == pytest.approx(cosines, abs=0.005)


@pytest.mark.parametrize("degrees", [-40, 0, 45, 88, 140, 180, 183, 250])
@pytest.mark.parametrize("head", [[0.9, 0.1], [0.4, 0.6]])
def test_it_is_what_the_rule_decides_of_what_is_stored(bank: Bank, degrees: float, head: list[float]) -> None:
    enroll(bank, "hat", 180, 184)
    enroll(bank, "pen", 80)
    for decision in (DECISION, replace(DECISION, means=0.5)):
        found = asked(bank, degrees, head, decision=decision)
        e = toward(degrees)
        near = bank.nearby(e, decision.k)
        heard = bank.to_class_means(near.unit) + np.zeros(3, np.float32) if decision.means else None
        ranking = decide(
            np.array(head, np.float32),
            near.cosines,
            near.classes,
            near.own,
            3,
            decision,
            near.to_means,
            [0, 1, 2],
            heard,
        )
        scores = {("cup", "pen", "hat")[c]: float(s) for c, s in enumerate(ranking.scores)}
        assert dict(found.ranked) == pytest.approx(scores)
        assert [r.score for r in found.ranked] == pytest.approx(sorted(scores.values(), reverse=True))
        assert (found.label, found.score) == found.ranked[0]
        of_gallery = ranking.enrolled.get(("cup", "pen", "hat").index(found.label), 0.0)
        assert found.source == ("gallery" if of_gallery > found.score / 2 else "head")


def test_an_enrolled_class_wins_where_it_is_near_and_says_so(bank: Bank) -> None:
    enroll(bank, "hat", 178, 180, 184)
    found = asked(bank, 181, [0.9, 0.1])
    assert (found.label, found.source) == ("hat", "gallery")
    assert asked(bank, 1, [0.9, 0.1]).source == "head"


def test_it_is_unknown_below_what_is_asked_and_only_where_it_is_asked(bank: Bank) -> None:
    near, far = asked(bank, 2, [0.9, 0.1], 0.1), asked(bank, 45, [0.9, 0.1], 0.1)
    assert (near.unknown, far.unknown) == (False, True)
    assert near.threshold == far.threshold == pytest.approx(0.865, abs=0.001)
    assert (near.knownness, far.knownness) == pytest.approx(
        (math.cos(math.radians(2)), math.cos(math.radians(40))), abs=0.005
    )
    off = asked(bank, 45, [0.9, 0.1])
    assert (off.unknown, off.threshold, off.label) == (False, -math.inf, "cup")


def test_what_must_not_pass_is_unknown_though_it_is_near(bank: Bank) -> None:
    enroll(bank, NONE_OF_THESE, 45)
    found = asked(bank, 45, [0.9, 0.1])
    assert (found.unknown, found.none_of_these, found.label) == (True, True, "cup")
    assert not asked(bank, 2, [0.9, 0.1]).none_of_these


def test_the_time_of_each_part_is_told_beside_what_went_before(bank: Bank) -> None:
    found = asked(bank, 2, [0.9, 0.1]).milliseconds
    assert set(found) == {"inference", "search", "decision"}
    assert found["inference"] == 7.0
    assert 0 < found["search"] < 60_000
    assert 0 < found["decision"] < 60_000


def test_without_any_class_there_is_nothing_to_answer() -> None:
    empty = Bank(Exemplars(np.zeros((0, 2), np.float32), np.zeros(0, np.int64)), ())
    with pytest.raises(GalleryError, match="nothing is enrolled; enroll a class first"):
        answer(NOTHING, toward(0), basis(empty, DECISION, KNOWN, 0.05), {})
    enroll(empty, "hat", 0)
    found = answer(NOTHING, toward(2), basis(empty, DECISION, KNOWN, 0.0), {})
    assert (found.label, found.source, found.score) == ("hat", "gallery", pytest.approx(1))


def test_as_json_it_has_rounded_numbers_and_no_infinity(bank: Bank) -> None:
    enroll(bank, "hat", 180)
    found = asked(bank, 93, [0.123456789, 0.876543211], 0.1)
    told = json.loads(json.dumps(found.document("a.png"), allow_nan=False))
    assert told["image"] == "a.png"
    assert told["ranked"] == [{"label": r.label, "score": round(r.score, 6)} for r in found.ranked]
    assert [n["similarity"] for n in told["neighbours"]] == [round(n.similarity, 4) for n in found.neighbours]
    assert [(n["id"], n["label"]) for n in told["neighbours"]] == [(n.id, n.label) for n in found.neighbours]
    assert (told["label"], told["score"]) == (found.label, round(found.score, 6))
    assert (told["knownness"], told["threshold"]) == (round(found.knownness, 4), round(found.threshold, 4))
    assert [told[key] for key in ("source", "unknown", "none_of_these")] == [found.source, False, False]
    assert told["milliseconds"] == {k: round(v, 3) for k, v in found.milliseconds.items()}
    assert asked(bank, 93, [0.1, 0.9]).document("a.png")["threshold"] is None
