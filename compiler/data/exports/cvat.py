"""CVAT's exports: its own XML (`CVAT for images`) with tags or boxes, and Datumaro's JSON with labels.

https://docs.cvat.ai/docs/manual/advanced/xml_format/
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tlc_edge.compiler.data.forms.boxes import Box
from tlc_edge.compiler.data.forms.csv_list import several
from tlc_edge.compiler.data.forms.listing import Row
from tlc_edge.compiler.data.forms.split_folders import split_of

from .found import Found, as_written_by, has_classes, read_json, read_xml

NAME = "CVAT's export (XML or Datumaro's JSON)"


def find(path: Path) -> Found | None:
    """Return the export at a path: a file, or those in a folder or its `annotations/`."""
    if not path.is_dir():
        return Found(path.parent, (path,)) if _is_export(path) else None
    if has_classes(path):
        return None
    near = [path / "annotations.xml", *path.glob("*.json"), *path.glob("annotations/*.json")]
    files = tuple(file for file in sorted(near) if file.is_file() and _is_export(file))
    return Found(path, files) if files else None


def _is_export(file: Path) -> bool:
    if file.suffix.lower() == ".xml":
        return read_xml(file).tag == "annotations"
    document = read_json(file) if file.suffix.lower() == ".json" else None
    return isinstance(document, dict) and {"items", "categories"} <= set(document)


def rows(found: Found) -> Iterator[Row | Box]:
    """Yield its labelled images or boxes; images without either are passed over.

    Raises:
        DataError: it is damaged, or an image has several labels.
    """
    for file in found.files:
        with as_written_by("CVAT", file):
            yield from _from_xml(file) if file.suffix.lower() == ".xml" else _from_json(file)


def _from_xml(file: Path) -> Iterator[Row | Box]:
    for image in read_xml(file).findall("image"):
        name = image.attrib["name"]
        split = split_of(image.attrib.get("subset", ""))
        tags = [tag.attrib["label"] for tag in image.findall("tag")]
        if len(set(tags)) > 1:
            raise several(f"{file}: {name}", tags)
        if tags:
            yield Row(name, tags[0], split, f"the entry of {name}")
        for box in image.findall("box"):
            edges = [float(box.attrib[edge]) for edge in ("xtl", "ytl", "xbr", "ybr")]
            yield Box(name, box.attrib["label"], edges[0], edges[1], edges[2], edges[3], split)


def _from_json(file: Path) -> Iterator[Row | Box]:
    document: dict[str, Any] = read_json(file)
    names = [str(of["name"]) for of in document["categories"]["label"]["labels"]]
    for item in document["items"]:
        path = str((item.get("image") or {}).get("path") or item["id"])
        marked = item.get("annotations", ())
        labels = [names[of["label_id"]] for of in marked if of["type"] == "label"]
        if len(set(labels)) > 1:
            raise several(f"{file}: {path}", labels)
        if labels:
            yield Row(path, labels[0], split_of(file.stem), f"the item {item['id']}")
        for of in marked:
            if of["type"] == "bbox":
                left, top, width, height = map(float, of["bbox"])
                yield Box(path, names[of["label_id"]], left, top, left + width, top + height, split_of(file.stem))
