"""What follows from numbers alone is made once, and comes back as it was made."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tlc_edge.compiler.bundle import unknown_once
from tlc_edge.compiler.bundle.unknown import measure_knownness
from tlc_edge.compiler.bundle.unknown_once import knownness_once
from tlc_edge.compiler.cache.once import Given, arrays_once, once
from tlc_edge.compiler.records import Looks, Neck
from tlc_edge.compiler.study import embedding_map
from tlc_edge.compiler.study.embedding_map import draw_map
from tlc_edge.runtime.knn.unknown import pack_knownness

ROWS = np.arange(6, dtype=np.float32)


class Made:
    """Makes the same each time, and counts."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> bytes:
        self.times += 1
        return b"what was made"


def made_times(cache: Path | str, *asked: tuple[Sequence[object], list[Given]]) -> int:
    made = Made()
    for words, given in asked:
        assert once(str(cache), words, given, made) == b"what was made"
    return made.times


def test_the_same_is_made_once(tmp_path: Path) -> None:
    assert made_times(tmp_path, *[(["a", 1], [ROWS, b"x", None])] * 3) == 1
    assert made_times(tmp_path, (["a", 1], [ROWS.copy(), b"x", None])) == 0


def test_without_a_cache_it_is_made_each_time() -> None:
    assert made_times("off", *[(["a"], [ROWS])] * 3) == 3


@pytest.mark.parametrize(
    ("words", "given"),
    [
        (["a", 2], [ROWS, b"x"]),
        (["b", 1], [ROWS, b"x"]),
        (["a", 1], [ROWS + 1, b"x"]),
        (["a", 1], [ROWS.astype(np.float64), b"x"]),
        (["a", 1], [ROWS.reshape(2, 3), b"x"]),
        (["a", 1], [ROWS.view(np.int32), b"x"]),
        (["a", 1], [b"x", ROWS]),
        (["a", 1], [ROWS]),
        (["a", 1], [ROWS, b"x", None]),
        (["a", 1], [ROWS, b"x", b""]),
        (["a", 1], [ROWS[:3], ROWS[3:], b"x"]),
    ],
)
def test_what_differs_in_anything_is_made_again(tmp_path: Path, words: list[object], given: list[Given]) -> None:
    assert made_times(tmp_path, (["a", 1], [ROWS, b"x"]), (words, given)) == 2


def test_nothing_is_not_an_empty_array(tmp_path: Path) -> None:
    assert made_times(tmp_path, (["a"], [None]), (["a"], [ROWS[:0]]), (["a"], [b""])) == 3


def test_what_is_damaged_is_made_again(tmp_path: Path) -> None:
    asked = (["a"], [ROWS])
    assert made_times(tmp_path, asked) == 1
    with sqlite3.connect(tmp_path / "features" / "features-1.sqlite") as db:
        assert db.execute("UPDATE payloads SET value = ?", (b"what was mad!",)).rowcount == 1
    assert made_times(tmp_path, asked, asked) == 1


def test_arrays_come_back_bit_for_bit(tmp_path: Path) -> None:
    given = {
        "a": np.array([[1.5, np.nan, -0.0, np.inf]], np.float32),
        "b": np.arange(3),
        "none": np.zeros((0, 7), "f4"),
    }
    for _ in range(2):
        found = arrays_once(str(tmp_path), ["arrays"], [], lambda: given)
        assert {name: (x.dtype, x.shape, x.tobytes()) for name, x in found.items()} == {
            name: (x.dtype, x.shape, x.tobytes()) for name, x in given.items()
        }


def drawn() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    draw = np.random.default_rng(0)
    classes = np.repeat(np.arange(4), 15)
    return (draw.normal(size=(60, 12)) + classes[:, None]).astype(np.float32), classes


@pytest.mark.parametrize("shipped", [True, False])
@pytest.mark.parametrize("width", [None, 5])
def test_knownness_from_the_cache_is_what_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, width: int | None, shipped: bool
) -> None:
    rows, classes = drawn()
    kernel = None if width is None else rows[:12, :width].copy()
    neck = Neck("none", 12) if kernel is None else Neck("pca", 5, kernel, kernel[0])
    looks = Looks(np.arange(0, 60, 2), (rows[::2] + 0.1,))
    given: Any = (neck, [rows, rows * 1.01], rows, classes, np.arange(0, 60, 5), 3, looks)
    measured = measure_knownness(*given, shipped=shipped)
    first = knownness_once(str(tmp_path), *given, shipped=shipped)
    monkeypatch.setattr(unknown_once, "measure_knownness", None)  # not asked again
    again = knownness_once(str(tmp_path), *given, shipped=shipped)
    assert pack_knownness(measured) == pack_knownness(first) == pack_knownness(again)
    with pytest.raises(TypeError):  # the other is something else
        knownness_once(str(tmp_path), *given, shipped=not shipped)


def test_a_map_is_drawn_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, classes = drawn()
    given: Any = (rows, classes, rows[:9], classes[:9], 0)
    fresh, first = draw_map(*given), draw_map(*given, str(tmp_path))
    monkeypatch.setattr(embedding_map, "_lay_out", None)
    again = draw_map(*given, str(tmp_path))
    assert fresh.method == again.method == "t-SNE"
    np.testing.assert_array_equal(fresh.points, first.points)
    np.testing.assert_array_equal(first.points, again.points)
    with pytest.raises(TypeError):
        draw_map(rows + 1, *given[1:], str(tmp_path))
