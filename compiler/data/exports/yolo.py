"""YOLO's boxes, as Ultralytics, Roboflow, CVAT, Label Studio and labelImg write them: a `.txt` for each image.

Each line is `class x y width height`, the middle of a box in shares of the photo, or `class x y x y …`, the corners
of an outline; the names of the classes are in `data.yaml`, `classes.txt` or `obj.names`.
https://docs.ultralytics.com/datasets/detect/
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tlc_edge.compiler.data.forms.boxes import Box
from tlc_edge.compiler.data.forms.split_folders import split_of
from tlc_edge.runtime.images.walk import walk

from .found import Found, as_written_by, has_classes

NAME = "YOLO's boxes (a .txt for each image)"
_LISTS = ("classes.txt", "obj.names", "_darknet.labels", "*.names")
_NAMED = re.compile(r"^names:[ \t]*(.*)$", re.MULTILINE)
_FIRST = 50  # images that are looked at to know one
_LARGEST = 1.01  # a share of the photo, rounded


def find(path: Path) -> Found | None:
    """Return the export at a path: names of classes, and images that have lines of boxes."""
    if not path.is_dir():
        return None
    names = next((file for file in _named_files(path) if _names(file)), None)
    if names is None or has_classes(path):
        return None
    first = (image for _, (image, problem) in zip(range(_FIRST), walk(path), strict=False) if problem is None)
    return Found(path, (names,)) if any(_is_boxes(image, path) for image in first) else None


def rows(found: Found) -> Iterator[Box]:
    """Yield the boxes; images without any are passed over.

    Raises:
        DataError: a file of boxes is damaged.
    """
    names = _names(found.files[0])
    for image, problem in walk(found.root):
        file = None if problem else _boxes_of(image, found.root)
        if file is None:
            continue
        at = image.relative_to(found.root)
        split = next((s for part in reversed(at.parts[:-1]) if (s := split_of(part))), None)
        with as_written_by("YOLO", file):
            for line in file.read_text("utf-8", "replace").splitlines():
                numbers = [float(cell) for cell in line.split()]
                if not numbers:
                    continue
                if numbers[0] < 0 or max(numbers[1:]) > _LARGEST:
                    raise ValueError(f"the line {line[:60]!r}")
                yield Box(at.as_posix(), names[int(numbers[0])], *_edges(numbers[1:]), split, shares=True)


def _edges(numbers: list[float]) -> tuple[float, float, float, float]:
    """Return left, top, right and bottom of a box, with or without how sure it is, or around an outline."""
    if len(numbers) in (4, 5):
        x, y, width, height = numbers[:4]
        return x - width / 2, y - height / 2, x + width / 2, y + height / 2
    if len(numbers) < 6 or len(numbers) % 2:
        raise ValueError(f"{len(numbers) + 1} numbers on a line")
    return min(numbers[::2]), min(numbers[1::2]), max(numbers[::2]), max(numbers[1::2])


def _boxes_of(image: Path, root: Path) -> Path | None:
    """Return the file with an image's boxes: beside it, or in `labels/` where it lies in `images/`."""
    parts = list(image.relative_to(root).parts)
    for i in range(len(parts) - 2, -1, -1):
        if parts[i].casefold() == "images":
            apart = root.joinpath(*parts[:i], "labels", *parts[i + 1 :]).with_suffix(".txt")
            if apart.is_file():
                return apart
            break
    beside = image.with_suffix(".txt")
    return beside if beside.is_file() else None


def _is_boxes(image: Path, root: Path) -> bool:
    file = _boxes_of(image, root)
    lines = [] if file is None else file.read_text("utf-8", "replace").split("\n", 1)[0].split()
    try:
        return len(lines) >= 5 and all(float(cell) >= 0 for cell in lines)
    except ValueError:
        return False


def _named_files(path: Path) -> Iterator[Path]:
    for pattern in ("data.yaml", "*.yaml", "*.yml", *_LISTS):
        for folder in (path, *(inner for inner in sorted(path.iterdir()) if inner.is_dir())):
            yield from sorted(folder.glob(pattern))


def _names(file: Path) -> list[str]:
    """Return the names of classes in a file, in their order; nothing where it has none.

    Of YAML only what exporters write is read: a list or numbered names, on one line or on several.
    """
    try:
        text = file.read_text("utf-8-sig", "replace")
    except OSError:
        return []
    if file.suffix.lower() not in (".yaml", ".yml"):
        return [line.strip() for line in text.splitlines() if line.strip()]
    named = _NAMED.search(text)
    if named is None:
        return []
    inline = named[1].strip()
    if inline[:1] in ("[", "{"):
        close = "]" if inline[0] == "[" else "}"
        body = text[named.start(1) :].partition(inline[0])[2].partition(close)[0]
        cells = [cell.strip() for cell in body.replace("\n", " ").split(",")]
    else:
        lines = text[named.end() :].lstrip("\r\n").splitlines()
        cells = []
        for line in lines:
            if line.strip() and not re.match(r"[ \t]|-", line):
                break
            cells.append(re.sub(r"^\s*-\s+", "", line).strip())
    bare = [re.sub(r"^\d+\s*:\s*", "", cell) for cell in cells if cell and not cell.startswith("#")]
    return [cell.strip().strip("'\"") for cell in bare]
