from __future__ import annotations

import io

import numpy as np
import pytest
from numpy.typing import NDArray

from tlc_edge.compiler.bundle.exemplars import choose_exemplars, pack_exemplars
from tlc_edge.compiler.options import PER_CLASS
from tlc_edge.runtime.vectors import unit_rows


def rays(*degrees: float) -> NDArray[np.float32]:
    """Return unit vectors in the plane at these angles."""
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def chosen(embeddings: NDArray[np.float32], count: int, classes: list[int] | None = None) -> list[int]:
    targets = np.array(classes or [0] * len(embeddings))
    return choose_exemplars(embeddings, targets, int(targets.max()) + 1, count).tolist()


class TestChoose:
    def test_the_first_is_the_most_central(self) -> None:
        assert chosen(rays(0, 20, 40, 60, 80), 1) == [2]
        assert chosen(rays(40, 80, 0, 60, 20), 1) == [0]

    def test_the_next_reach_what_is_not_covered(self) -> None:
        # Two bunches: the second choice is the middle of the other.
        first, second = chosen(rays(0, 5, 10, 90, 95, 100), 2)
        assert (first in (0, 1, 2), second) in ((True, 4), (False, 1))

    def test_a_bunch_is_worth_more_than_an_outlier(self) -> None:
        outlier, many = 10, rays(*range(10), 140, *range(60, 70))
        assert outlier not in chosen(many, 2)  # though it lies farthest from whatever comes first
        assert outlier in chosen(many, 5)

    def test_it_covers_better_than_chance(self) -> None:
        generator = np.random.default_rng(0)
        rows = unit_rows(generator.normal(size=(80, 6)).astype(np.float32))

        def cover(indices: list[int]) -> float:
            return float((rows @ rows[indices].T).max(axis=1).mean())

        by_chance = [cover(generator.choice(80, 8, replace=False).tolist()) for _ in range(200)]
        assert cover(chosen(rows, 8)) > max(by_chance)

    def test_only_the_direction_counts(self) -> None:
        rows = rays(0, 20, 40, 60, 80)
        assert chosen(rows * np.array([[9], [1], [0.1], [3], [7]], np.float32), 3) == chosen(rows, 3)

    def test_classes_are_chosen_apart_and_come_in_order(self) -> None:
        rows = rays(0, 100, 20, 110, 40, 120, 60, 80)
        classes = [1, 0, 1, 0, 1, 0, 1, 1]
        assert chosen(rows, 1, classes) == [3, 4]
        assert [classes[i] for i in chosen(rows, 3, classes)] == [0, 0, 0, 1, 1, 1]

    def test_a_small_class_gives_all_it_has(self) -> None:
        assert sorted(chosen(rays(0, 10, 20), 15)) == [0, 1, 2]
        assert sorted(chosen(rays(0, 10, 20, 90), 2, [0, 0, 0, 1])[2:]) == [3]

    def test_none_are_asked_for(self) -> None:
        assert chosen(rays(0, 10), 0) == []

    @pytest.mark.parametrize("count", [2, 4, 6])
    def test_no_image_twice_even_if_all_are_alike(self, count: int) -> None:
        found = chosen(rays(*[30] * 6), count)
        assert len(set(found)) == count
        found = chosen(rays(30, 30, 30, 30, 31, 31), count)
        assert len(set(found)) == count

    def test_a_very_large_class_is_thinned_evenly(self) -> None:
        rows = rays(*np.linspace(0, 80, 1000))
        found = chosen(rows, PER_CLASS)
        assert len(set(found)) == PER_CLASS
        assert min(found) < 100
        assert max(found) > 900


class TestPack:
    def test_what_is_in_it(self) -> None:
        rows = np.random.default_rng(0).normal(size=(5, 8)).astype(np.float32) * 3
        with np.load(io.BytesIO(pack_exemplars(rows, np.array([0, 0, 1, 2, 2]))), allow_pickle=False) as data:
            assert {k: (data[k].dtype.str, data[k].shape) for k in data.files} == {
                "vectors": ("|i1", (5, 8)),
                "scales": ("<f4", (5,)),
                "labels": ("<i4", (5,)),
            }
            assert data["labels"].tolist() == [0, 0, 1, 2, 2]
            restored = data["vectors"] * data["scales"][:, None]
            np.testing.assert_allclose(restored, rows, atol=np.abs(rows).max() / 127)

    def test_equal_rows_give_equal_bytes(self) -> None:
        rows, labels = rays(0, 10, 20), np.array([0, 0, 1])
        assert pack_exemplars(rows, labels) == pack_exemplars(rows.copy(), labels)
        assert pack_exemplars(rows, labels) != pack_exemplars(rays(0, 10, 21), labels)

    def test_none(self) -> None:
        empty = np.zeros((0, 8), np.float32)
        with np.load(io.BytesIO(pack_exemplars(empty, np.zeros(0, np.int64)))) as data:
            assert data["vectors"].shape == (0, 8)
