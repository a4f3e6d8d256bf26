"""The label that stands: two thirds of the latest frames, held until another has them."""

from __future__ import annotations

import itertools
import sys
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlc_edge.runtime.errors import UsageError
from tlc_edge.runtime.watch.steady import MOST, Steady


def announced(window: int, answers: str) -> list[tuple[int, str | None]]:
    """Return the frames at which the label changed, and to what; `-` stands for unknown."""
    steady = Steady(window)
    changes: list[tuple[int, str | None]] = []
    for frame, answer in enumerate(answers):
        if steady.see(None if answer == "-" else answer):
            changes.append((frame, steady.label))
    return changes


@pytest.mark.parametrize(
    ("window", "answers", "changes"),
    [
        (1, "aabb-a", [(0, "a"), (2, "b"), (4, None), (5, "a")]),
        (5, "aaa", []),
        (5, "aaaa", [(3, "a")]),
        (5, "aaaabaaa", [(3, "a")]),  # one odd frame
        (5, "aaaabbaaabb", [(3, "a")]),  # two odd frames, again and again
        (5, "aaaaabbbb", [(3, "a"), (8, "b")]),
        (5, "abcabcabc", []),  # nothing has its share, so nothing is said
        (5, "aaaa" + "bc" * 9, [(3, "a")]),  # two others take turns
        (3, "aaa" + "bc" * 9, [(2, "a")]),
        (5, "----aaaa----", [(3, None), (7, "a"), (11, None)]),
        (2, "aabb", [(1, "a"), (3, "b")]),
        (4, "aabbaabbaabb", []),
        (4, "aaabbaabb", [(2, "a")]),
    ],
)
def test_examples(window: int, answers: str, changes: list[tuple[int, str | None]]) -> None:
    assert announced(window, answers) == changes


def test_a_gap_forgets_the_frames_but_not_the_label() -> None:
    steady = Steady(3)
    assert [steady.see("a"), steady.see("a"), steady.see("a")] == [False, False, True]
    assert [steady.see("b"), steady.see("b")] == [False, False]
    steady.clear()
    assert steady.label == "a"
    assert [steady.see("b"), steady.see("b"), steady.see("b")] == [False, False, True]
    steady.clear()
    assert not any(steady.see("b") for _ in range(9))  # it stands already


@pytest.mark.parametrize(
    ("window", "answers", "label"),
    [
        (5, "a", "a"),
        (5, "aa", "a"),
        (5, "aab", None),  # two thirds, not more
        (5, "ab", None),
        (5, "abcd", None),
        (9, "abaaab-a", None),
        (9, "abaaaa-a", "a"),
        (1, "", None),
    ],
)
def test_where_the_frames_end_early_two_thirds_of_them_decide(window: int, answers: str, label: str | None) -> None:
    steady = Steady(window)
    assert not any(steady.see(None if answer == "-" else answer) for answer in answers)
    assert steady.end() == (label is not None)
    assert (steady.announced, steady.label) == (label is not None, label)
    assert not steady.end()  # once is enough


def test_unknown_may_be_what_stands_at_the_end() -> None:
    steady = Steady(5)
    steady.see(None)
    assert steady.end()
    assert (steady.announced, steady.label) == (True, None)


@pytest.mark.parametrize("answers", ["ababa", "abababab", "aaaab", "aaaaabb"])
def test_the_end_changes_nothing_once_a_window_was_full_or_a_label_stands(answers: str) -> None:
    steady = Steady(5)
    for answer in answers:
        steady.see(answer)
    before = (steady.announced, steady.label)
    assert not steady.end()
    assert (steady.announced, steady.label) == before


def test_unknown_is_a_label_that_can_be_the_first() -> None:
    steady = Steady(1)
    assert (steady.announced, steady.label) == (False, None)
    assert steady.see(None)
    assert (steady.announced, steady.label) == (True, None)
    assert not steady.see(None)


@given(st.integers(1, 9), st.lists(st.sampled_from(["a", "b", "c", None]), max_size=60))
def test_against_counting_the_whole_window_anew(window: int, answers: list[str | None]) -> None:
    steady = Steady(window)
    standing: list[str | None] = []
    for i, answer in enumerate(answers):
        latest = answers[max(0, i + 1 - window) : i + 1]
        major = [label for label, n in Counter(latest).items() if 3 * n > 2 * window]
        changed = bool(major) and major != standing
        standing = major or standing
        assert steady.see(answer) == changed
        assert ([steady.label] if steady.announced else []) == standing


def test_memory_is_that_of_the_window() -> None:
    steady = Steady(5)
    for i, _ in enumerate(itertools.repeat(None, 5000)):
        steady.see(f"label {i}")
        if i == 100:
            before = sys.getsizeof(steady._count) + len(steady._count) + len(steady._latest)
    assert sys.getsizeof(steady._count) + len(steady._count) + len(steady._latest) == before


@pytest.mark.parametrize("window", [0, -1, MOST + 1])
def test_a_window_that_is_none(window: int) -> None:
    with pytest.raises(UsageError, match=f"smoothing over {window} frames, expected 1 to {MOST}"):
        Steady(window)
