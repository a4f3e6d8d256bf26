"""A short attack on each kind of input: whatever is handed over, tlc refuses it in a clean sentence or takes it.

`tools/attack` does the same for longer; see docs/security.md.
"""

from __future__ import annotations

import importlib.util
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fuzz_attack import COLUMNS, Attack, HangError, attack, is_clean
from fuzz_kinds import TARGETS, Target
from fuzz_mutations import mutated

from tlc_edge.runtime.errors import DataError

TRIES = {
    **{"gallery": 25, "rows of a gallery": 25, "recover": 40, "HDF5": 12, ".keras": 6, "SavedModel": 0, "tar": 60},
    **{"words in a report": 3},
}
"""Inputs; by default 150. A process for each, or a disk that is waited for, costs more. A SavedModel: tools/attack."""
WORDS = ("words in a report",)
"""What is always taken: never refused, but must not become part of what is made."""


@pytest.fixture(autouse=True)
def _hangs_are_told() -> Iterator[None]:
    def hang(*_: object) -> None:
        raise HangError

    before = signal.signal(signal.SIGVTALRM, hang)
    yield
    signal.signal(signal.SIGVTALRM, before)


@pytest.mark.parametrize("target", [t for t in TARGETS if TRIES.get(t.name) != 0], ids=lambda t: t.name)
def test_whatever_is_handed_over_is_taken_or_refused_in_a_clean_sentence(target: Target, tmp_path: Path) -> None:
    if target.needs is not None:
        pytest.importorskip(target.needs)
    found = Attack(target, tmp_path)
    attack(found, 60, seed=3, most=TRIES.get(target.name, 150))
    assert found.said == []
    assert [found.counts[c] for c in COLUMNS[3:]] == [0, 0, 0]
    assert found.counts["refused"] or target.name in WORDS
    assert found.counts["harmless"]  # the corpus itself, at least


def broken(behave: str) -> Target:
    """Return a target that does what no reader may."""

    def prepare(folder: Path) -> tuple[list[bytes], object]:
        def run(data: bytes) -> None:
            if behave == "raises":
                raise IndexError(data)
            if behave == "says odd things":
                raise DataError("")
            if behave == "writes elsewhere":
                (folder.parent / "untouched").write_bytes(b"changed")
            if behave == "never ends":
                while True:
                    pass

        return [b"seed"], run

    return Target("broken", prepare)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("behave", "column"),
    [
        ("raises", "traceback"),
        ("says odd things", "traceback"),
        ("writes elsewhere", "damage"),
        ("never ends", "hang"),
        ("is well", "harmless"),
    ],
)
def test_an_attack_sees_what_goes_wrong(
    behave: str, column: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fuzz_attack.HANG", 0.5)
    found = Attack(broken(behave), tmp_path, tmp_path / "findings")
    assert found.one(b"x") == column
    assert (found.counts["tried"], found.counts[column]) == (1, 1)
    assert (tmp_path / "findings").exists() == (column != "harmless")


def test_what_a_clean_message_is() -> None:
    assert is_clean("net.h5: damaged; copy it again")
    for odd in ("", "two\nlines", "\x1b[31m", "turned\u202e", "x" * 601, "Traceback (most recent call last)"):
        assert not is_clean(odd)


def test_mutations_are_many_and_the_same_for_a_seed() -> None:
    for data in (b'{"a": [1, 2, {"b": "c"}]}', bytes(range(256)), b""):
        once, again = ([mutated(data, random.Random(i), [data]) for i in range(200)] for _ in range(2))
        assert once == again
        assert len(set(once)) > 50


def test_the_one_command(tmp_path: Path) -> None:
    tool = Path(__file__).parents[2] / "tools" / "attack"
    done = subprocess.run(
        [sys.executable, str(tool), "--seconds", "1", "--engine", "own", "manifest", "zip"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = [line.split("|")[1:-1] for line in done.stdout.splitlines()]
    assert [row[0].strip() for row in rows] == ["class", "---", "manifest", "zip", "all"]
    assert [row[4:] for row in rows[2:]] == [[" 0 "] * 3] * 3
    assert all(int(row[1].replace(",", "")) > 10 for row in rows[2:])


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris is missing")
def test_atheris_drives_the_same_attack(tmp_path: Path) -> None:
    script, kept = Path(__file__).parents[1] / "fuzzing" / "fuzz_attack.py", tmp_path / "counts"
    done = subprocess.run(
        [sys.executable, str(script), "manifest", "--seconds", "5", "--engine=atheris"],
        env={**os.environ, "TLC_ATTACK_COUNTS": str(kept)},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    counts = json.loads(kept.read_text())
    assert counts["tried"] > 100
    assert [counts[c] for c in COLUMNS[3:]] == [0, 0, 0]
