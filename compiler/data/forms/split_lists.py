"""Lists beside class folders that say which images are for what: `train.txt` and its like, an image on each line.

Food-101's form, and that of many a script: a line is a path, with or without its suffix, maybe with a label behind it.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from tlc_edge.compiler.data.records import SPLITS, Sample
from tlc_edge.runtime.images.load import source_name

_PLACES = ("", "meta", "splits", "lists")  # folders of a data set where such lists lie
_LARGEST = 100_000_000  # bytes of a list
_SHOWN = 100  # characters of a line that a note shows


@dataclass(frozen=True)
class Listed:
    """Samples with the parts that lists give them."""

    samples: list[Sample]
    lists: tuple[str, ...] = ()
    """The names of the lists; none where the samples are as they were."""
    note: str | None = None
    """Why lists that are there were not taken, for people."""


def by_lists(root: Path, samples: Sequence[Sample]) -> Listed:
    """Return the samples of class folders below `root`, each with the part of the list that names it.

    What no list names stays undecided. Lists of which no line names a sample are something else.
    """
    lists = list(_lists(root))
    keys = _keys(samples) if lists else {}
    parts: dict[int, tuple[str, str]] = {}
    taken: list[str] = []
    for path, part in lists:
        name, lines = source_name(path.relative_to(root).as_posix()), _lines(path)
        rows = [_row(keys, line) for line in lines]
        if not any(row is not None for row in rows):
            continue
        taken.append(name)
        for line, row in zip(lines, rows, strict=True):
            if row is None:
                return Listed(
                    [*samples], note=_passed_over(name, f"its line {source_name(line[:_SHOWN])!r} names no one image")
                )
            there = parts.setdefault(row, (part, name))
            if there[0] != part:
                return Listed([*samples], note=_passed_over(name, f"{samples[row].name} is in {there[1]}, too"))
    if not parts:
        return Listed([*samples])
    split = [replace(sample, split=parts[i][0]) if i in parts else sample for i, sample in enumerate(samples)]
    return Listed(split, tuple(taken))


def _passed_over(name: str, why: str) -> str:
    return f"{name} is not taken for a split: {why}"


def _lists(root: Path) -> Iterator[tuple[Path, str]]:
    for place in _PLACES:
        folder = root / place
        for path in sorted(folder.glob("*.txt")) if folder.is_dir() else []:
            part = SPLITS.get(path.stem.lower())
            if part is not None and path.is_file() and path.stat().st_size <= _LARGEST:
                yield path, part


def _lines(path: Path) -> list[str]:
    text = path.read_text("utf-8-sig", errors="surrogateescape")
    return [line.strip() for line in text.splitlines() if line.strip()]


def _keys(samples: Sequence[Sample]) -> dict[str, int | None]:
    """Return what may name each sample: its path from any folder above that of its class on; None: several."""
    keys: dict[str, int | None] = {}
    for i, sample in enumerate(samples):
        steps = PurePosixPath(sample.name).parts
        for first in range(max(len(steps) - 1, 1)):
            whole = PurePosixPath(*steps[first:])
            for key in {_plain(whole), _plain(whole.with_suffix(""))}:
                keys[key] = i if keys.get(key, i) == i else None
    return keys


def _row(keys: dict[str, int | None], line: str) -> int | None:
    """Return which sample a line names; None: none, or several."""
    for said in (line, *(line.rpartition(mark)[0] for mark in " \t,")):
        steps = PurePosixPath(said.strip().strip("\"'").replace("\\", "/")).parts
        for first in range(len(steps)):
            key = _plain(PurePosixPath(*steps[first:]))
            if key in keys:
                return keys[key]
    return None


def _plain(path: PurePosixPath) -> str:
    return unicodedata.normalize("NFC", str(path))
