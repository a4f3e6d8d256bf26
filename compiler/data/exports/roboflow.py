"""Roboflow's exports of images in the folders of a split: `_classes.csv`, `_annotations.csv`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from tlc_edge.compiler.data.forms.boxes import Box
from tlc_edge.compiler.data.forms.csv_list import box_rows, has_boxes, list_rows
from tlc_edge.compiler.data.forms.csv_table import read_csv
from tlc_edge.compiler.data.forms.listing import Row
from tlc_edge.compiler.data.forms.split_folders import split_of

from .found import Found, lists_in

NAME = "Roboflow's export (_classes.csv or _annotations.csv)"


def find(path: Path) -> Found | None:
    """Return the export at a path."""
    files = lists_in(path, "_classes.csv", "_annotations.csv") if path.is_dir() else ()
    return Found(path, files) if files else None


def rows(found: Found) -> Iterator[Row | Box]:
    """Yield its labelled images or boxes.

    Raises:
        DataError: it is damaged, or an image has several labels.
    """
    for file in found.files:
        table = read_csv(file)
        folder, split = file.parent.relative_to(found.root), split_of(file.parent.name)
        if has_boxes(table):
            for box in box_rows(table):
                yield replace(box, path=(folder / box.path).as_posix(), split=split)
            continue
        for row in list_rows(table):
            yield Row((folder / row.path).as_posix(), row.label, row.split or split, f"{file.name}, {row.where}")
