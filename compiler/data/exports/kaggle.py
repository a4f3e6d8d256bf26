"""A list beside a folder of images, as Kaggle's competitions have it: `train.csv` with `id,label`, and `train/`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from tlc_edge.compiler.data.forms.boxes import Box
from tlc_edge.compiler.data.forms.csv_list import box_rows, has_boxes, is_list, list_rows
from tlc_edge.compiler.data.forms.csv_table import read_csv
from tlc_edge.compiler.data.forms.listing import Row
from tlc_edge.compiler.data.forms.split_folders import split_of

from .found import Found, has_classes

NAME = "a list beside a folder of images"
_OTHERS = ("sample", "submission")


def find(path: Path) -> Found | None:
    """Return the lists in a folder that says no classes itself."""
    if not path.is_dir():
        return None
    lists = [file for file in sorted(path.glob("*.csv")) if not file.stem.casefold().startswith(_OTHERS)]
    files = tuple(file for file in lists if is_list(file))
    if not files or has_classes(path):
        return None
    return Found(path, files, files[0].stem.casefold() if len(files) == 1 else "")


def rows(found: Found) -> Iterator[Row | Box]:
    """Yield what the lists say, of images or of boxes in them; of several, each has the split that its name says.

    Raises:
        DataError: one is damaged, or an image has several labels.
    """
    several = len(found.files) > 1
    for file in found.files:
        table, said = read_csv(file), split_of(file.stem) if several else None
        if has_boxes(table):
            yield from (replace(box, split=box.split or said) for box in box_rows(table))
            continue
        for row in list_rows(table):
            yield replace(row, split=row.split or said)
