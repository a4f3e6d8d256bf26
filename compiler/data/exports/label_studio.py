"""Label Studio's exports of choices and boxes: JSON and JSON-MIN (its CSV is a list as any other).

https://labelstud.io/guide/export
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tlc_edge.compiler.data.forms.boxes import Box
from tlc_edge.compiler.data.forms.csv_list import several
from tlc_edge.compiler.data.forms.listing import Row

from .found import Found, as_written_by, has_classes, read_json

NAME = "Label Studio's export (JSON)"
_RESULTS = ("annotations", "completions")


def find(path: Path) -> Found | None:
    """Return the export at a path: a file, or the only one in a folder."""
    if path.is_dir():
        files = [] if has_classes(path) else [file for file in sorted(path.glob("*.json")) if _is_export(file)]
        return Found(path, tuple(files)) if files else None
    return Found(path.parent, (path,)) if _is_export(path) else None


def _is_export(file: Path) -> bool:
    document = read_json(file) if file.suffix.lower() == ".json" else None
    first = document[0] if isinstance(document, list) and document else None
    if not isinstance(first, dict):
        return False
    return ("data" in first and any(key in first for key in _RESULTS)) or _choice(first) is not None


def rows(found: Found) -> Iterator[Row | Box]:
    """Yield its labelled images or boxes; tasks that nobody has annotated, or that were cancelled, are passed over.

    Raises:
        DataError: it is damaged, or an image has several labels.
    """
    for file in found.files:
        with as_written_by("Label Studio", file):
            for task in read_json(file):
                where = f"task {task.get('id', '?')}"
                if "data" not in task:
                    label = task[_choice(task) or "choice"]
                    yield Row(_image(task), _one(label, file, where), None, where)
                    continue
                results: list[Any] = next((task[key] for key in _RESULTS if key in task), [])
                kept = [of for of in results if not of.get("was_cancelled")]
                for result in kept[0]["result"] if kept else ():
                    yield from _result(result, _image(task["data"]), file, where)


def _result(result: dict[str, Any], image: str, file: Path, where: str) -> Iterator[Row | Box]:
    value = result["value"]
    if "choices" in value:
        yield Row(image, _one(value["choices"], file, where), None, where)
    elif "rectanglelabels" in value:
        wide, high = float(result["original_width"]) / 100, float(result["original_height"]) / 100
        left, top = value["x"] * wide, value["y"] * high
        label = _one(value["rectanglelabels"], file, where)
        yield Box(image, label, left, top, left + value["width"] * wide, top + value["height"] * high, None)


def _one(label: Any, file: Path, where: str) -> str:
    """Return the only one of several choices."""
    labels = label if isinstance(label, list) else label["choices"] if isinstance(label, dict) else [label]
    if len(labels) != 1:
        raise several(f"{file}, {where}: its image", [str(of) for of in labels])
    return str(labels[0])


def _image(data: dict[str, Any]) -> str:
    """Return the image of a task, by whatever name its project calls it."""
    return str(
        data["image"] if "image" in data else next(v for k, v in data.items() if k in ("img", "photo", "picture"))
    )


def _choice(task: dict[str, Any]) -> str | None:
    """Return the key of the choice in a task of JSON-MIN."""
    known = ("choice", "choices", "label", "class", "category")
    return next((key for key in known if key in task), None) if "image" in task else None
