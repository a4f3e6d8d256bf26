"""Hugging Face's image folders: `metadata.csv` or `metadata.jsonl` with `file_name` and a label.

https://huggingface.co/docs/datasets/image_dataset
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tlc_edge.compiler.data.forms.csv_list import LABELS, several
from tlc_edge.compiler.data.forms.csv_table import read_csv
from tlc_edge.compiler.data.forms.listing import Row
from tlc_edge.compiler.data.forms.split_folders import split_of
from tlc_edge.runtime.errors import DataError

from .found import Found, as_written_by, lists_in

NAME = "a Hugging Face image folder (metadata)"


def find(path: Path) -> Found | None:
    """Return the image folder at a path; one whose metadata say no label has its classes in folders."""
    files = lists_in(path, "metadata.csv", "metadata.jsonl") if path.is_dir() else ()
    return Found(path, files) if any(_label(_entries(file)) for file in files) else None


def rows(found: Found) -> Iterator[Row]:
    """Yield its labelled images.

    Raises:
        DataError: it is damaged, or an image has several labels.
    """
    for file in found.files:
        entries = _entries(file)
        column = _label(entries)
        folder = file.parent.relative_to(found.root)
        with as_written_by("Hugging Face", file):
            for line, entry in entries:
                name = entry["file_name"]
                label = entry[column or "label"]
                if isinstance(label, list | dict):
                    raise several(f"{file}, line {line}: {name}", [str(of) for of in label])
                inside = next((s for part in Path(name).parts[:-1] if (s := split_of(part))), None)
                yield Row((folder / name).as_posix(), str(label), split_of(file.parent.name) or inside, f"line {line}")


def _entries(file: Path) -> list[tuple[int, dict[str, Any]]]:
    if file.suffix == ".csv":
        table = read_csv(file)
        return [(line, dict(zip(table.header, row, strict=True))) for line, row in table.rows]
    lines = file.read_text("utf-8", "replace").splitlines()
    try:
        return [(i, json.loads(line)) for i, line in enumerate(lines, 1) if line.strip()]
    except ValueError as e:
        raise DataError(f"{file}: not readable JSON lines ({e})") from None


def _label(entries: list[tuple[int, dict[str, Any]]]) -> str | None:
    """Return the column that says the label."""
    first = entries[0][1] if entries else {}
    return next((name for name in LABELS if name in first), None) if "file_name" in first else None
