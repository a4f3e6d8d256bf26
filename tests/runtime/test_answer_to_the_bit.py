"""Answers beside the rule written out plainly: what is fast about a prediction changes no bit of it."""

# pyright: reportPrivateUsage=false
from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Iterator
from dataclasses import asdict, astuple, fields, replace
from typing import Any

import numpy as np
import pytest

from tlc_edge.runtime.bundle.bundle import Exemplars
from tlc_edge.runtime.bundle.manifest import Decision, Unknown
from tlc_edge.runtime.gallery.records import GalleryRows
from tlc_edge.runtime.knn.bank import Bank
from tlc_edge.runtime.knn.cut import LENGTH, Measured
from tlc_edge.runtime.knn.prediction import Basis, Neighbour, Prediction, Ranked, answer, basis
from tlc_edge.runtime.knn.unknown import CLEARLY, Knownness, without_table
from tlc_edge.runtime.labels import NONE_OF_THESE
from tlc_edge.runtime.vectors import Floats, unit_rows


def plainly(head: Floats, e: Floats, of: Basis) -> tuple[Any, ...]:
    """Return a prediction's fields but the milliseconds, one step after the other."""
    bank, decision, count = of.bank, of.decision, len(of.bank.labels)
    squared, shift = float(np.dot(e, e)), bank._shift
    length = math.sqrt(squared) or 1.0
    unit = e / np.float32(length)
    cosines = bank._rows.products(unit)
    rows = np.argsort(-cosines, kind="stable")[: decision.k]
    classes, own = bank.row_class[rows].tolist(), [row < bank.exemplars for row in rows.tolist()]
    along, shifted = float(np.dot(e, shift)), float(np.dot(shift, shift))
    moved = math.sqrt(max(0.0, squared + 2 * along + shifted)) or 1.0
    known: list[float] = []
    for row, cosine in zip(rows.tolist(), cosines[rows].tolist(), strict=True):
        its, lean = float(bank._lengths[row]), float(bank._leans[row])
        beside = math.sqrt(max(0.0, its * its + 2 * its * lean + shifted)) or 1.0
        known.append((its * (length * cosine + lean) + along + shifted) / (beside * moved))
    toward = (e + shift) * np.float32(1 / moved)
    claims = bank._shifted_means.of(count) @ toward
    for c in set(classes):
        claims[c] = (max(one for one, its in zip(known, classes, strict=True) if its == c) + float(claims[c])) / 2
    unwanted = float((bank.unwanted() @ toward).max()) if len(bank.unwanted()) else -2.0
    to_means = (bank._means.of(count)[classes] @ unit).tolist()

    said = [(1 - decision.mean) * a + decision.mean * b for a, b in zip(cosines[rows].tolist(), to_means, strict=True)]
    votes = [math.exp((one - max(said)) / decision.temperature) for one in said]
    if decision.balance:
        could = [min(max(of.examples[c], 1), decision.k) ** -decision.balance for c in classes]
        votes = [v if is_own else v * few for v, is_own, few in zip(votes, own, could, strict=True)]
    shares: dict[int, float] = {}
    for vote, is_own, c in zip(votes, own, classes, strict=True):
        if not is_own:
            shares[c] = shares.get(c, 0.0) + vote / sum(votes)
    scores, total = np.zeros(count, np.float32), float(head.sum())
    left = max(0.0, 1.0 - sum(shares.values()))
    if len(head):
        scores[: len(head)] = head * np.float32(left / total) if total > np.finfo(np.float32).tiny else left / len(head)
    for c, share in shares.items():
        scores[c] += share
    if of.heard is not None and decision.means:
        of_means = bank.to_class_means(unit) + of.heard
        heard = np.exp((of_means - of_means.max()) / np.float32(decision.means_temperature))
        heard *= np.float32(decision.means / (1 + decision.means)) / heard.sum()
        scores = scores / np.float32(1 + decision.means) + heard
        shares = {c: share / (1 + decision.means) for c, share in shares.items()}
        for c, mean in enumerate(heard[len(head) :].tolist(), len(head)):
            shares[c] = shares.get(c, 0.0) + mean

    order = np.argsort(-scores, kind="stable").tolist()
    ranked = tuple(Ranked(bank.labels[c], float(scores[c])) for c in order)
    near = zip(bank.ids[rows].tolist(), classes, cosines[rows].tolist(), strict=True)
    neighbours = tuple(Neighbour(i, bank.labels[c], s) for i, c, s in near)
    if of.limits.cut is not None and len(rows):
        knownness = float((claims - of.limits.cut.offsets).max()) - LENGTH * math.log(max(length, 1e-30))
        asked = of.limits.cut.threshold
    else:
        limits = [of.limits.asked[c] for c in classes]
        above = [2 + s if a == -math.inf else s - max(a, -2.0) for s, a in zip(known, limits, strict=True)]
        best = above.index(max(above)) if above else 0
        knownness, asked = (known[best], limits[best]) if above else (0.0, -math.inf)
    is_unwanted = unwanted > CLEARLY + max(known, default=-2.0)
    source = "gallery" if 2 * shares.get(order[0], 0.0) > ranked[0].score else "head"
    unknown = is_unwanted or knownness < asked
    return ranked[0].label, ranked[0].score, source, unknown, ranked, neighbours, knownness, asked, is_unwanted


def fields_of(found: Prediction) -> tuple[Any, ...]:
    return tuple(getattr(found, field.name) for field in fields(found) if field.name != "milliseconds")


def stored(seed: int) -> tuple[Basis, np.random.Generator]:
    """Return a bank of random classes, exemplars, enrolled rows, merged rows and copies, under a random rule."""
    rng = np.random.default_rng(seed)
    width, base = int(rng.choice([2, 8, 96, 256])), int(rng.integers(0, 6))
    own = np.sort(np.r_[np.arange(base), rng.integers(0, base, int(rng.integers(0, 40)))] if base else np.zeros(0, int))
    shift = rng.normal(size=width).astype(np.float32) * np.float32(rng.choice([0, 1]))
    unwanted = rng.normal(size=(int(rng.integers(0, 3)), width)).astype(np.float32)
    vectors = unit_rows(rng.normal(size=(len(own), width)).astype(np.float32))
    exemplars = Exemplars(vectors, own, rng.uniform(0.5, 9, len(own)).astype(np.float32))
    bank = Bank(exemplars, tuple(f"base {i}" for i in range(base)), shift, unwanted)
    names = [*bank.labels, *(f"taught {i}" for i in range(int(rng.integers(1, 60)))), NONE_OF_THESE]
    for first in range(1, int(rng.integers(0, 8)) * 50 + (0 if base else 50), 50):
        rows = rng.integers(-127, 128, (50, width)).astype(np.int8)
        rows[:: int(rng.integers(2, 50))] = rows[0]  # the same picture several times
        labels, scales = tuple(map(str, rng.choice(names, 50))), rng.uniform(0.001, 0.1, 50).astype(np.float32)
        bank.append(
            GalleryRows(np.arange(first, first + 50), labels, rows, scales, 0, stands_for=rng.integers(1, 4, 50))
        )
    known = without_table(Unknown(0.05, tuple(np.sort(rng.uniform(-0.5, 1, 31)).tolist())), width)
    if rng.random() < 0.6:
        few = np.sort(rng.uniform(-0.3, 0.9, (3, 21)), axis=1).astype(np.float32)
        looks = rng.uniform(-0.2, 0.9, (2, len(own) or 20, 3)).astype(np.float32)
        examples = np.array([1, 2, 5])
        known = Knownness(shift, known.base, examples, few, Measured(examples, few, *looks), unwanted)
    temperature, mean, balance, means = (
        float(rng.choice(some)) for some in ([0.03, 0.1], [0, 0.5], [0, 1], [0, 0.4, 1])
    )
    decision = Decision(int(rng.integers(1, 9)), temperature, mean, balance, means, 0.04)
    return basis(bank, decision, known, float(rng.choice([0, 0.05, 0.2]))), rng


def asked(of: Basis, rng: np.random.Generator, count: int) -> Iterator[tuple[Floats, Floats]]:
    """Yield heads' answers and embeddings: anything, of any length, and rows that are stored."""
    base, width = len(of.bank._base), of.bank._shift.shape[0]
    for i in range(count):
        head = rng.dirichlet(np.ones(base)).astype(np.float32) if base else np.zeros(0, np.float32)
        e = rng.normal(size=width).astype(np.float32) * np.float32(rng.choice([0, 1e-3, 1, 30]))
        if i % 3 == 2 and len(of.bank):
            e = of.bank.embeddings(rng.integers(0, len(of.bank), 1))[0]
        yield (head * np.float32(i != 5), e)


@pytest.mark.parametrize("seed", range(40))
def test_answers_are_those_of_the_plain_rule_to_the_bit(seed: int) -> None:
    of, rng = stored(seed)
    for head, e in asked(of, rng, 8):
        assert fields_of(answer(head, e, of, {})) == plainly(head, e, of)


def test_the_banks_show_all_that_an_answer_can_be() -> None:
    answers = [answer(head, e, of, {}) for of, rng in map(stored, range(40)) for head, e in asked(of, rng, 8)]
    assert {(a.source, a.unknown, a.none_of_these) for a in answers} == {
        (source, *rest) for source in ("head", "gallery") for rest in ((False, False), (True, False), (True, True))
    }


@pytest.mark.parametrize("seed", range(12))
def test_an_embedding_that_is_no_number_is_ranked_as_by_the_plain_rule(seed: int) -> None:
    of, rng = stored(seed)
    head, e = next(asked(of, rng, 1))
    of = of._replace(decision=replace(of.decision, means=0.0), heard=None)  # else no score is a number
    assert repr(fields_of(answer(head, e * np.float32("nan"), of, {}))) == repr(
        plainly(head, e * np.float32("nan"), of)
    )


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p)), replace])
def test_what_is_made_when_it_is_read_is_there_for_whoever_asks(way: Any) -> None:
    of, rng = stored(3)
    head, e = next(asked(of, rng, 1))
    expected = fields_of(answer(head, e, of, {}))
    found, other = (answer(head, e, of, {"inference": 1.0}) for _ in range(2))
    assert fields_of(way(found)) == fields_of(other) == expected
    assert replace(found, milliseconds={}) == replace(other, milliseconds={})
    assert asdict(found)["ranked"] == expected[4]
    assert astuple(found)[5] == expected[5]
    assert repr(expected[4]) in repr(answer(head, e, of, {}))
    assert found.ranked is found.ranked
    with pytest.raises(AttributeError, match="'Prediction' object has no attribute 'labl'"):
        getattr(found, "labl")  # noqa: B009
    with pytest.raises(AttributeError, match="cannot assign"):
        found.label = "x"  # type: ignore[misc]


def test_a_prediction_that_is_read_late_is_of_the_bank_as_it_was() -> None:
    of, rng = stored(3)
    head, e = next(asked(of, rng, 1))
    expected, late = fields_of(answer(head, e, of, {})), answer(head, e, of, {})
    of.bank.clear()
    assert fields_of(late) == expected
