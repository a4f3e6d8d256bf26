"""The decision's rule, by hand for small cases and by its laws for any."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlc_edge.runtime.bundle.manifest import Decision
from tlc_edge.runtime.knn.decision import Ranking, decide
from tlc_edge.runtime.knn.search import highest

E = math.e


class Ranked(NamedTuple):
    scores: np.ndarray
    enrolled: np.ndarray
    neighbours: list[int]


def rank(
    head: list[float],
    rows: list[tuple[float, int]],
    exemplars: int,
    classes: int,
    k: int = 5,
    temperature: float = 0.1,
) -> Ranked:
    """Decide for bank rows given as (similarity, class), as `predict` does: from the k nearest."""
    near = highest(np.array([s for s, _ in rows], np.float32), k).tolist()
    found = decide(
        np.array(head, np.float32),
        [rows[i][0] for i in near],
        [rows[i][1] for i in near],
        [i < exemplars for i in near],
        classes,
        Decision(k, temperature),
    )
    enrolled = np.array([found.enrolled.get(c, 0.0) for c in range(classes)])
    return Ranked(found.scores, enrolled, near)


# --- by hand


def test_with_nothing_enrolled_the_head_speaks_alone() -> None:
    found = rank([0.7, 0.3], [(0.9, 1), (0.8, 1)], exemplars=2, classes=2)
    assert np.allclose(found.scores, [0.7, 0.3])
    assert found.enrolled.tolist() == [0, 0]
    assert found.neighbours == [0, 1]


def test_with_no_rows_at_all_too() -> None:
    found = rank([0.7, 0.3], [], exemplars=0, classes=2)
    assert np.allclose(found.scores, [0.7, 0.3])
    assert found.neighbours == []


def test_an_enrolled_class_takes_its_share_of_the_votes_and_the_head_shares_the_rest() -> None:
    # Votes: row 2 is nearest and weighs 1, row 0 at a distance of one temperature weighs 1/e.
    found = rank([0.75, 0.25], [(0.8, 0), (0.1, 1), (0.9, 2)], exemplars=2, classes=3, k=2)
    share = 1 / (1 + 1 / E)
    assert np.allclose(found.enrolled, [0, 0, share])
    assert np.allclose(found.scores, [0.75 * (1 - share), 0.25 * (1 - share), share])
    assert found.neighbours == [2, 0]


def test_an_enrolled_class_that_is_far_away_changes_nothing() -> None:
    found = rank([0.75, 0.25], [(0.9, 0), (0.9, 0), (0.2, 2)], exemplars=2, classes=3, k=2)
    assert np.allclose(found.scores, [0.75, 0.25, 0])


def test_a_base_class_with_extra_examples_has_head_and_examples_speak_for_it() -> None:
    found = rank([0.75, 0.25], [(0.9, 0), (0.9, 1)], exemplars=1, classes=2)
    assert np.allclose(found.enrolled, [0, 0.5])
    assert np.allclose(found.scores, [0.75 * 0.5, 0.25 * 0.5 + 0.5])


def test_without_a_head_the_enrolled_classes_share_everything() -> None:
    found = rank([], [(0.9, 0), (0.8, 1)], exemplars=0, classes=2)
    assert np.allclose(found.scores, [1 / (1 + 1 / E), 1 / (E + 1)])
    assert len(rank([], [], exemplars=0, classes=0).scores) == 0


def test_a_single_class_is_certain() -> None:
    assert rank([1.0], [(0.3, 0)], exemplars=1, classes=1).scores.tolist() == [1]
    assert rank([1.0], [(0.3, 0)], exemplars=0, classes=1).scores.tolist() == [1]
    assert rank([], [(0.3, 0)], exemplars=0, classes=1).scores.tolist() == [1]


def test_more_neighbours_than_rows_are_all_rows() -> None:
    few = rank([0.5, 0.5], [(0.9, 2), (0.8, 0)], exemplars=0, classes=3, k=100)
    assert few.neighbours == [0, 1]
    assert np.allclose(few.scores.sum(), 1)


def test_a_head_that_does_not_sum_to_1_is_brought_to_it() -> None:
    assert np.allclose(rank([0.5, 0.25], [], exemplars=0, classes=2).scores, [2 / 3, 1 / 3])


def test_a_head_whose_answer_rounded_to_nothing_has_no_preference() -> None:
    found = rank([0.0, 0.0], [(0.9, 2), (0.9, 0)], exemplars=0, classes=3, k=1)
    assert np.allclose(found.scores, [0, 0, 1])
    assert np.allclose(rank([0.0, 0.0], [], exemplars=0, classes=2).scores, [0.5, 0.5])
    assert np.allclose(rank([1e-45, 0.0], [], exemplars=0, classes=2).scores, [0.5, 0.5])
    assert np.allclose(rank([3e-38, 0.0], [], exemplars=0, classes=2).scores, [1, 0])


def test_no_score_falls_below_zero_where_all_votes_are_enrolled() -> None:
    """Shares rounded to float32 can sum to a little over 1."""
    for gap in np.linspace(0.001, 0.2, 200).tolist():
        found = rank([0.6, 0.4], [(1.0, 2), (1.0 - gap, 2), (1.0 - 2.3 * gap, 3)], exemplars=0, classes=4)
        assert found.scores.min() >= 0
        assert not np.signbit(found.scores).any()


def test_the_means_of_the_classes_have_their_word() -> None:
    def with_means(mean: float) -> list[float]:
        own, decision = [False, False], Decision(5, 0.1, mean)
        return decide(np.zeros(0, np.float32), [0.9, 0.8], [0, 1], own, 2, decision, [0.5, 0.8]).scores.tolist()

    assert with_means(0.0) == pytest.approx([E / (1 + E), 1 / (1 + E)])  # the rows alone: 0.9 against 0.8
    assert with_means(0.25) == pytest.approx([0.5, 0.5])  # 0.8 against 0.8
    assert with_means(1.0) == pytest.approx([1 / (1 + E**3), E**3 / (1 + E**3)])  # 0.5 against 0.8
    assert rank([], [(0.9, 0), (0.8, 1)], 0, 2).scores.tolist() == pytest.approx(with_means(0.0))


def test_no_class_wins_by_the_number_of_its_examples() -> None:
    """Classes 1 and 2 are enrolled with four examples and one; class 0 is the build's."""

    def shares(balance: float, k: int, examples: list[int] | None = [0, 4, 1]) -> list[float]:  # noqa: B006
        near = [0, 1, 1, 1, 1, 2][:k]
        own = [c == 0 for c in near]
        head = np.array([1.0], np.float32)
        return decide(head, [0.5] * k, near, own, 3, Decision(k, 0.1, 0.0, balance), None, examples).scores.tolist()

    assert shares(0.0, 6) == pytest.approx([1 / 6, 4 / 6, 1 / 6])
    assert shares(1.0, 6) == pytest.approx([1 / 3, 1 / 3, 1 / 3])
    assert shares(0.5, 6) == pytest.approx([1 / 4, 2 / 4, 1 / 4])
    assert shares(1.0, 6, None) == shares(0.0, 6)
    # Only three can vote, so a class is never divided by more: one vote of the build's, two of class 1.
    assert shares(1.0, 3) == pytest.approx([1 / (1 + 2 / 3), (2 / 3) / (1 + 2 / 3), 0])


MEANS = Decision(5, 0.1, means=1.0, means_temperature=0.1)


def with_means(head: list[float], to_means: list[float] | None, decision: Decision = MEANS) -> Ranking:
    """Decide for an enrolled row of class 2 and two exemplars, all equally near; the head has two classes."""
    given = None if to_means is None else np.array(to_means, np.float32)
    one = np.array(head, np.float32)
    return decide(one, [0.5] * 3, [0, 1, 2], [True, True, False], 3, decision, None, [0, 0, 1], given)


def test_the_means_of_all_classes_have_half_of_the_say() -> None:
    before, after = with_means([0.75, 0.25], None), with_means([0.75, 0.25], [0.5, 0.4, 0.5])
    said = np.array([1, 1 / E, 1]) / (2 + 1 / E)
    np.testing.assert_allclose(after.scores, (before.scores + said) / 2, rtol=1e-6)
    assert after.enrolled == {2: pytest.approx((1 / 3 + said[2]) / 2)}
    # What was a tie of head and votes, they decide.
    assert np.argmax(with_means([0.34, 0.33], [0.3, 0.3, 0.6]).scores) == 2
    assert np.argmax(with_means([0.34, 0.33], [0.3, 0.6, 0.3]).scores) == 1


def test_a_rule_without_means_and_a_class_without_rows_are_as_before() -> None:
    plain = with_means([0.75, 0.25], [0.9, 0.1, 0.1], Decision(5, 0.1))
    assert plain.scores.tolist() == with_means([0.75, 0.25], None).scores.tolist()
    assert with_means([0.5, 0.5], [0.1, 0.2, -np.inf]).scores[2] == pytest.approx(1 / 6)


def test_a_lower_temperature_listens_to_the_nearest_only() -> None:
    rows = [(0.9, 0), (0.8, 1)]
    assert np.allclose(rank([], rows, 0, 2, temperature=0.001).scores, [1, 0])
    assert np.allclose(rank([], rows, 0, 2, temperature=1000).scores, 0.5, atol=1e-3)


# --- laws

HEAD = st.lists(st.floats(0, 1, width=32), min_size=0, max_size=5)
ROWS = st.lists(st.tuples(st.floats(-1, 1, width=32), st.integers(0, 7)), max_size=20)


@given(HEAD, ROWS, st.integers(0, 20), st.integers(1, 25), st.sampled_from([0.001, 0.05, 1.0]))
def test_scores_are_shares_of_1(
    head: list[float], rows: list[tuple[float, int]], exemplars: int, k: int, temperature: float
) -> None:
    # The bundle's own exemplars stand in front and belong to base classes.
    exemplars = min(exemplars, len(rows)) if head else 0
    rows = [(s, c % len(head) if i < exemplars else c) for i, (s, c) in enumerate(rows)]
    found = rank(head, rows, exemplars, 8, k, temperature)
    assert len(found.neighbours) == min(k, len(rows))
    assert np.all(found.scores >= 0)
    assert np.all(found.enrolled <= found.scores + 1e-6)
    if head or rows:
        assert found.scores.sum() == pytest.approx(1, abs=1e-5)
    voting = {rows[i][1] for i in found.neighbours if i >= exemplars}
    assert set(np.flatnonzero(found.enrolled).tolist()) <= voting
    if not voting and sum(head) > 1e-3:
        assert np.allclose(found.scores[: len(head)], np.array(head) / sum(head), atol=1e-5)
