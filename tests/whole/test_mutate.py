"""`tools/mutate`: what it changes, what it leaves alone, and that its table names files that are there."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent.parent

SOURCE = '''
"""Says 3 < 4."""
LIMIT = 3

def clip(value: int, low: int = 0) -> int:
    """Clip it: 1 + 1."""
    if value < low and low is not None:
        raise ValueError(f"{value + 1} is below {low}")
    total = float(value + low)
    put(value, low)
    total = max(total, low)
    return min(LIMIT, total, key=str, strict=True)
'''


@pytest.fixture(scope="module")
def mutate() -> Iterator[Any]:
    loader = SourceFileLoader("tlc_mutate", str(ROOT / "tools" / "mutate"))
    spec = importlib.util.spec_from_loader("tlc_mutate", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["tlc_mutate"] = module  # dataclasses look their module up
    writes, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        loader.exec_module(module)
        yield module
    finally:
        sys.dont_write_bytecode = writes
        del sys.modules["tlc_mutate"]


def test_the_table_names_what_is_there(mutate: Any) -> None:
    for path, tests in mutate.CORE.items():
        assert (ROOT / path).is_file(), path
        assert tests
        assert [name for name in tests if not (ROOT / "tests" / f"{name}.py").is_file()] == []


def test_every_kind_of_change_once_and_nothing_that_only_people_read(mutate: Any) -> None:
    found = mutate.Changes("m.py", SOURCE).found
    assert [(m.kind, m.after) for m in found] == [
        ("constant", "LIMIT = 4"),
        ("constant", "def clip(value: int, low: int = 1) -> int:"),
        ("boolean", "if value < low or low is not None:"),
        ("comparison", "if value <= low and low is not None:"),
        ("comparison", "if value < low and low is None:"),
        ("deleted statement", "pass"),
        ("arithmetic", "total = float(value - low)"),
        ("deleted statement", "pass"),
        ("arguments", "put(low, value)"),
        ("return value", "return None"),
        ("arguments", "return min(total, LIMIT, key=str, strict=True)"),
    ]
    assert all(m.is_python() for m in found)
    assert len({m.key for m in found}) == len(found)
    assert found[3].source == SOURCE.replace("value < low", "value <= low")
    assert found[3].line == 7


def test_a_change_keeps_its_key_where_lines_move_and_alike_lines_have_two(mutate: Any) -> None:
    keys = [m.key for m in mutate.Changes("m.py", SOURCE).found]
    assert [m.key for m in mutate.Changes("m.py", "import os\n\n" + SOURCE).found] == keys
    twice = mutate.Changes("m.py", "a = b + c\na = b + c\n").found
    assert [(m.line, m.after) for m in twice] == [(1, "a = b - c"), (2, "a = b - c")]
    assert twice[0].key != twice[1].key


def test_a_sample_is_the_same_each_time_and_another_seed_another(mutate: Any) -> None:
    def draw(seed: int, sample: int = 20) -> list[str]:
        return [m.key for m in mutate.draw("runtime/knn", sample, seed)]

    assert draw(0) == draw(0)
    assert len(draw(0)) == 20
    assert draw(0) != draw(1)
    assert set(draw(0)) < set(draw(0, 40))


def test_what_makes_no_difference_is_a_change_of_today_and_says_why(mutate: Any) -> None:
    for (path, *words), why in mutate.equivalents().items():
        assert path in mutate.CORE
        assert words in [[m.before, m.after, m.ordinal] for m in mutate.changes(path)], words
        assert len(why) > 20
