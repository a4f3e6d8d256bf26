"""COCO's annotations of boxes, as COCO, Roboflow, CVAT and many others write them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tlc_edge.compiler.data.forms.boxes import Box
from tlc_edge.compiler.data.forms.listing import Row
from tlc_edge.compiler.data.forms.split_folders import split_of

from .found import Found, as_written_by, has_classes, lists_in, read_json

NAME = "COCO's annotations of boxes"


def find(path: Path) -> Found | None:
    """Return the annotations at a path: a file, those of each split, or those in `annotations/`."""
    if not path.is_dir():
        return Found(path.parent, (path,)) if _is_coco(path) else None
    files = lists_in(path, "_annotations.coco.json")
    if not files and not has_classes(path):
        near = [*path.glob("*.json"), *path.glob("annotations/*.json")]
        files = tuple(file for file in sorted(near) if _is_coco(file))
    return Found(path, files) if files else None


def _is_coco(file: Path) -> bool:
    document = read_json(file) if file.suffix.lower() == ".json" else None
    return isinstance(document, dict) and {"images", "annotations", "categories"} <= set(document)


def rows(found: Found) -> Iterator[Box | Row]:
    """Yield the boxes; those of crowds, which hold several things, are passed over.

    Where no annotation has a box, each says the class of its image.

    Raises:
        DataError: it is damaged.
    """
    for file in found.files:
        document: dict[str, Any] = read_json(file)
        beside = file.parent if file.name.startswith("_") else found.root
        folder = beside.relative_to(found.root)
        split = split_of(file.parent.name) or split_of(file.stem.rpartition("_")[2])
        with as_written_by("COCO", file):
            names = {of["id"]: str(of["name"]) for of in document["categories"]}
            images = {of["id"]: str(of["file_name"]) for of in document["images"]}
            whole = not any(of.get("bbox") for of in document["annotations"])
            for of in document["annotations"]:
                path = (folder / images[of["image_id"]]).as_posix()
                if whole:
                    yield Row(path, names[of["category_id"]], split, f"{file.name}, image {of['image_id']}")
                if not of.get("bbox") or of.get("iscrowd"):
                    continue
                left, top, width, height = map(float, of["bbox"])
                yield Box(path, names[of["category_id"]], left, top, left + width, top + height, split)
