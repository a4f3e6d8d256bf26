"""Edge Impulse's exporter: `training/` and `testing/`, and what each file is in `info.labels`.

https://docs.edgeimpulse.com/docs/tools/edge-impulse-cli/cli-uploader
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tlc_edge.compiler.data.forms.boxes import Box
from tlc_edge.compiler.data.forms.csv_list import several
from tlc_edge.compiler.data.forms.listing import Row
from tlc_edge.compiler.data.records import SPLITS
from tlc_edge.runtime.images.walk import is_image

from .found import Found, as_written_by, read_json

NAME = "Edge Impulse's export (info.labels)"
_LABELS = "info.labels"


def find(path: Path) -> Found | None:
    """Return the export at a path."""
    file = path / _LABELS if path.is_dir() else path
    return Found(file.parent, (file,)) if file.name == _LABELS and file.is_file() else None


def rows(found: Found) -> Iterator[Row | Box]:
    """Yield its labelled images; files that are no images, and those without a label, are passed over.

    Raises:
        DataError: it is damaged, or an image has several labels.
    """
    (file,) = found.files
    with as_written_by("Edge Impulse", file):
        for entry in read_json(file)["files"]:
            path, label = str(entry["path"]), entry.get("label") or {}
            split = SPLITS.get(str(entry.get("category", "")))
            if not is_image(path):
                continue
            for box in entry.get("boundingBoxes") or ():
                left, top = float(box["x"]), float(box["y"])
                yield Box(path, str(box["label"]), left, top, left + box["width"], top + box["height"], split)
            if label.get("type") == "multi-label":
                raise several(f"{file}: {path}", [str(of["label"]) for of in label["labels"]])
            if label.get("type") == "label" and not entry.get("boundingBoxes"):
                yield Row(path, str(label["label"]), split, f"the entry of {path}")
