"""Create ML's annotations of boxes, as Roboflow and RectLabel write them.

https://developer.apple.com/documentation/createml/building-an-object-detector-data-source
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tlc_edge.compiler.data.forms.boxes import Box
from tlc_edge.compiler.data.forms.split_folders import split_of

from .found import Found, as_written_by, has_classes, lists_in, read_json

NAME = "Create ML's annotations of boxes"


def find(path: Path) -> Found | None:
    """Return the annotations at a path: a file, or those of each split."""
    if not path.is_dir():
        return Found(path.parent, (path,)) if _is_one(path) else None
    files = lists_in(path, "_annotations.createml.json")
    if not files and not has_classes(path):
        files = tuple(file for file in lists_in(path, "*.json") if _is_one(file))
    return Found(path, files) if files else None


def _is_one(file: Path) -> bool:
    document = read_json(file) if file.suffix.lower() == ".json" else None
    first = document[0] if isinstance(document, list) and document else None
    if not isinstance(first, dict) or not ({"image", "imagefilename"} & set(first)):
        return False
    marks = first.get("annotations", first.get("annotation"))
    return isinstance(marks, list) and all(isinstance(of, dict) and "coordinates" in of for of in marks)


def rows(found: Found) -> Iterator[Box]:
    """Yield the boxes.

    Raises:
        DataError: it is damaged.
    """
    for file in found.files:
        folder, split = file.parent.relative_to(found.root), split_of(file.parent.name)
        with as_written_by("Create ML", file):
            for of in read_json(file):
                path = (folder / str(of.get("image", of.get("imagefilename")))).as_posix()
                for mark in of.get("annotations", of.get("annotation")):
                    at = mark["coordinates"]  # of the middle of the box
                    x, y, width, height = (float(at[key]) for key in ("x", "y", "width", "height"))
                    edges = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
                    yield Box(path, str(mark["label"]), *edges, split)
