from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlc_edge.compiler.data.split import MIN_TRAIN, Split, split
from tlc_edge.runtime.errors import DataError


def labels_of(**counts: int) -> list[str]:
    return [label for label, count in counts.items() for _ in range(count)]


def named(parts: Split, names: list[str]) -> dict[str, set[str]]:
    return {part: {names[i] for i in getattr(parts, part)} for part in ("train", "validation", "test")}


def sizes(parts: Split) -> tuple[int, int, int]:
    return len(parts.train), len(parts.validation), len(parts.test)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(5, 40), min_size=1, max_size=5), st.integers(0, 2**32))
def test_every_image_lands_once_and_every_class_everywhere(counts: list[int], seed: int) -> None:
    labels = labels_of(**{f"c{i}": count for i, count in enumerate(counts)})
    parts = split(labels, seed)
    every = np.concatenate([parts.train, parts.validation, parts.test])
    assert every.dtype == np.int64
    assert sorted(every.tolist()) == list(range(len(labels)))
    for label in set(labels):
        here = [sum(labels[i] == label for i in part) for part in (parts.train, parts.validation, parts.test)]
        assert here[0] >= MIN_TRAIN
        assert min(here) >= 1
    assert all((np.diff(part) > 0).all() for part in (parts.train, parts.validation, parts.test))


@pytest.mark.parametrize(
    ("count", "expected"),
    [(5, (3, 1, 1)), (6, (4, 1, 1)), (7, (5, 1, 1)), (10, (7, 1, 2)), (20, (14, 3, 3)), (100, (70, 15, 15))],
)
def test_sizes(count: int, expected: tuple[int, int, int]) -> None:
    assert sizes(split(["a"] * count, 0)) == expected


def test_fractions_give_way_to_the_minima() -> None:
    assert sizes(split(["a"] * 5, 0, (0.2, 0.4, 0.4))) == (3, 1, 1)
    assert sizes(split(["a"] * 20, 0, (1.0, 0.0, 0.0))) == (18, 1, 1)
    assert sizes(split(["a"] * 10, 0, (0.4, 0.3, 0.3))) == (4, 3, 3)


def test_the_seed_decides() -> None:
    labels = labels_of(a=30, b=30)
    first, again, other = (split(labels, seed).test.tolist() for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_classes_are_shuffled_apart() -> None:
    parts = split(labels_of(a=40, b=40), 0)
    a, b = ([i for i in parts.test if i < 40], [i - 40 for i in parts.test if i >= 40])
    assert a != b
    assert a != list(range(6))


def test_a_class_does_not_depend_on_the_others() -> None:
    small, large = split(labels_of(a=20, b=5), 3), split(labels_of(a=20, b=50, c=7), 3)
    for part in ("train", "validation", "test"):
        alone, beside = ([i for i in getattr(s, part) if i < 20] for s in (small, large))
        assert alone == beside


def test_with_names_the_order_does_not_matter() -> None:
    labels = labels_of(a=12, b=9)
    names = [f"{label}/{i}.png" for i, label in enumerate(labels)]
    order = np.random.default_rng(0).permutation(len(labels))
    shuffled = [names[i] for i in order]
    first = split(labels, 7, names=names)
    second = split([labels[i] for i in order], 7, names=shuffled)
    assert named(first, names) == named(second, shuffled)
    assert first.test.tolist() != second.test.tolist()


def test_an_image_more_moves_few() -> None:
    names = [f"{i}.png" for i in range(41)]
    before = named(split(["a"] * 40, 0, names=names[:40]), names)
    after = named(split(["a"] * 41, 0, names=names), names)
    assert len(before["test"] - after["test"]) <= 1


def test_integer_labels_split_like_their_text() -> None:
    numbers = np.repeat([3, 11], 10)
    assert split(numbers, 0).test.tolist() == split([str(n) for n in numbers], 0).test.tolist()


class TestGiven:
    def test_all_parts_are_kept(self) -> None:
        given = ["train"] * 4 + ["validation"] * 2 + ["test"] * 3
        parts = split(["a"] * 9, 0, given=given)
        assert (parts.train.tolist(), parts.validation.tolist()) == ([0, 1, 2, 3], [4, 5])
        assert parts.test.tolist() == [6, 7, 8]

    def test_validation_is_carved_out_of_train_and_test_stays(self) -> None:
        parts = split(["a"] * 30, 0, given=["train"] * 20 + ["test"] * 10)
        assert parts.test.tolist() == list(range(20, 30))
        assert sizes(parts) == (16, 4, 10)

    def test_test_is_carved_out_of_train_and_validation_stays(self) -> None:
        parts = split(["a"] * 30, 0, given=["train"] * 20 + ["validation"] * 10)
        assert parts.validation.tolist() == list(range(20, 30))
        assert sizes(parts) == (16, 10, 4)

    def test_only_train_is_as_good_as_nothing(self) -> None:
        labels = labels_of(a=10, b=10)
        assert split(labels, 0, given=["train"] * 20).test.tolist() == split(labels, 0).test.tolist()

    def test_undecided_images_are_carved_first_and_else_train(self) -> None:
        parts = split(["a"] * 14, 0, given=[None] * 4 + ["train"] * 10)
        assert set(parts.validation) | set(parts.test) == {0, 1, 2, 3}
        full = split(["a"] * 12, 0, given=[None] * 4 + ["train"] * 4 + ["validation"] * 2 + ["test"] * 2)
        assert full.train.tolist() == list(range(8))

    def test_each_class_by_itself(self) -> None:
        given = ["train"] * 8 + ["test"] * 2 + [None] * 10
        parts = split(labels_of(a=10, b=10), 0, given=given)
        assert [i for i in parts.test if i < 10] == [8, 9]
        assert sum(i >= 10 for i in parts.test) == 2

    def test_too_few_left_to_train_on(self) -> None:
        with pytest.raises(DataError, match=r"'a': 3 images are left.*3 to train on and 1 for validation"):
            split(["a"] * 10, 0, given=["train"] * 3 + ["test"] * 7)
        assert sizes(split(["a"] * 10, 0, given=["train"] * 4 + ["test"] * 6)) == (3, 1, 6)


class TestErrors:
    def test_a_small_class_is_named_with_its_counts(self) -> None:
        with pytest.raises(DataError, match="class 'b' has 4 images, expected at least 5"):
            split(labels_of(a=9, b=4), 0)
        with pytest.raises(DataError, match=r"'b' has 4 images \(2 more were skipped\).*as well: 'c'"):
            split(labels_of(a=9, b=4, c=1), 0, skipped={"b": 2})

    def test_a_class_of_which_nothing_is_left(self) -> None:
        with pytest.raises(DataError, match=r"'gone' has 0 images \(6 more were skipped\)"):
            split(["a"] * 9, 0, skipped={"gone": 6})
        assert sizes(split(["a"] * 9, 0, skipped={"a": 6})) == sizes(split(["a"] * 9, 0))

    @pytest.mark.parametrize("fractions", [(0.5, 0.2, 0.2), (1.2, -0.1, -0.1)])
    def test_fractions(self, fractions: tuple[float, float, float]) -> None:
        with pytest.raises(ValueError, match="fractions"):
            split(["a"] * 9, 0, fractions)

    def test_arguments_that_do_not_fit(self) -> None:
        with pytest.raises(ValueError, match="9 labels, 8 given"):
            split(["a"] * 9, 0, given=[None] * 8)
        with pytest.raises(ValueError, match="9 labels, 9 given parts, 2 names"):
            split(["a"] * 9, 0, names=["x", "y"])
        with pytest.raises(ValueError, match="'dev'"):
            split(["a"] * 9, 0, given=["dev"] * 9)


@pytest.mark.parametrize(("small", "more"), [(1, ""), (2, ""), (9, ""), (10, "…")])
def test_small_classes_are_named_but_not_too_many(small: int, more: str) -> None:
    with pytest.raises(DataError) as caught:
        split(labels_of(**{f"c{i}": 4 for i in range(small)}, full=9), 0)
    others = ", ".join(f"'c{i}'" for i in range(1, min(small, 9)))
    expected = "class 'c0' has 4 images, expected at least 5; add images or remove the class"
    assert str(caught.value) == expected + (f"; too small as well: {others}{more}" if others else "")
