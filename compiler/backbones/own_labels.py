"""The names of the classes that a network from a file tells apart: beside it, or in a file of their own."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from tlc_edge.runtime.errors import BuildError, UsageError, first_line

BESIDE = ("labels.txt", "metadata.json")
"""Where exporters put them, Teachable Machine among them."""
_LARGEST = 1 << 20
_NUMBERED = re.compile(r"(\d+)[\s:,]+(\S.*)")


def labels_beside(name: str) -> tuple[str, ...] | None:
    """Return the labels that lie beside a network's file, or in its folder; None where there are none.

    Raises:
        BuildError: they are there and cannot be read.
    """
    return next((found for file in label_files(name) if (found := read_labels(file)) is not None), None)


def label_files(name: str) -> list[Path]:
    """Return the files beside a network's, or in its folder, that may hold its labels."""
    path = Path(name)
    folder = path if path.is_dir() else path.parent
    beside = [place / file for place in (folder, folder / "assets") for file in BESIDE]
    return [file for file in beside if file.is_file()]


def labels_from(name: str) -> tuple[str, ...]:
    """Return the labels in the file that `--labels` names.

    Raises:
        UsageError: there is no such file.
        BuildError: it holds none.
    """
    path = Path(name)
    if not path.is_file():
        raise UsageError(f"--labels {name}: no such file")
    found = read_labels(path)
    if found is None:
        raise BuildError(f"--labels {name}: holds no labels, expected one on each line, or a JSON list")
    return found


def read_labels(path: Path) -> tuple[str, ...] | None:
    """Return the labels in a text file, one on each line, or in JSON: a list, or one under `labels`.

    Lines may begin with their number, as Teachable Machine writes them. None where a JSON document has none.

    Raises:
        BuildError: it cannot be read, or a label occurs twice.
    """
    try:
        if path.stat().st_size > _LARGEST:
            raise BuildError(f"{path}: too long to be a list of labels")
        text = path.read_text(encoding="utf-8-sig")
        found = _of_json(json.loads(text)) if path.suffix.lower() == ".json" else _of_lines(text)
    except (OSError, ValueError, RecursionError) as e:
        raise BuildError(f"{path}: cannot be read as labels ({first_line(e)})") from None
    if found is None:
        return None
    twice = sorted({label for label in found if found.count(label) > 1})
    if twice or not all(found):
        raise BuildError(f"{path}: the label {twice[0]!r} occurs twice" if twice else f"{path}: a label is empty")
    return tuple(found) or None


def _of_lines(text: str) -> list[str]:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    numbered = [_NUMBERED.fullmatch(line) for line in lines]
    if lines and all(m is not None and int(m[1]) == i for i, m in enumerate(numbered)):
        return [m[2] for m in numbered if m is not None]
    return lines


def _of_json(document: Any) -> list[str] | None:
    listed = document.get("labels") if isinstance(document, dict) else document
    if not isinstance(listed, list) or not all(isinstance(label, str) for label in listed):
        return None
    return [label.strip() for label in listed]
