"""The exports that are known, as one form of data set: the first that finds its marks reads it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Protocol

from tlc_edge.compiler.data.forms.boxes import Box, crop_boxes
from tlc_edge.compiler.data.forms.embedded import Embedded, take_embedded
from tlc_edge.compiler.data.forms.listing import Finder, Row, take
from tlc_edge.compiler.data.forms.split_folders import split_of
from tlc_edge.compiler.data.records import Origin, Reading, Sample
from tlc_edge.runtime.errors import DataError
from tlc_edge.runtime.files import file_sha256
from tlc_edge.runtime.images.walk import folders_in

from . import (
    coco,
    create_ml,
    cvat,
    edge_impulse,
    frigate,
    hugging_face,
    kaggle,
    label_studio,
    parquet,
    pascal_voc,
    roboflow,
    teachable_machine,
    yolo,
)
from .found import Found

EXPECTED = ""
SUFFIXES: tuple[str, ...] = (".json", ".labels", ".parquet", ".xml")


class Export(Protocol):
    """A module that reads what one tool writes."""

    @property
    def NAME(self) -> str:  # noqa: N802 - a constant of the module
        """What it is, for people."""
        ...

    def find(self, path: Path) -> Found | None:
        """Return the export at a path, known by its own marks; None where there is none."""
        ...

    def rows(self, found: Found) -> Iterable[Row | Box | Embedded]:
        """Return what it holds; raises a DataError where it is damaged."""
        ...


EXPORTS: tuple[Export, ...] = (
    edge_impulse,
    roboflow,
    hugging_face,
    frigate,
    teachable_machine,
    parquet,
    pascal_voc,
    coco,
    create_ml,
    cvat,
    label_studio,
    yolo,
    kaggle,
)
"""Those with a mark of their own first; a list beside a folder of images last."""


def claims(origin: Origin) -> bool:
    """Return whether a path is that of an export, or a file as exports have."""
    path = Path(origin.data)
    if path.is_file():
        return path.name.lower().endswith(SUFFIXES)
    return path.is_dir() and _find(path) is not None


def read(reading: Reading) -> list[Sample]:
    """Return the images of an export, and say first what it was taken for.

    Raises:
        DataError: it is none that is known, is damaged, or holds several labels for an image.
    """
    path = Path(reading.origin.data)
    which = _find(path)
    if which is None:
        names = ", ".join(export.NAME for export in EXPORTS)
        raise DataError(f"{path}: no export that is known here; expected {names}")
    export, found = which
    reading.recognised.append(export.NAME)
    items = iter(export.rows(found))
    first = next(items, None)
    samples = [] if first is None else _take(type(first), chain([first], items), found, reading)
    return sorted(samples, key=lambda sample: (sample.label, sample.name))


def _take(kind: type, items: Iterator[Row | Box | Embedded], found: Found, reading: Reading) -> list[Sample]:
    what = str(reading.origin.data)
    finder = Finder(found.root, reading.within, by_name=True, preferred=found.preferred)
    if kind is Embedded:
        key = hashlib.sha256("".join(map(file_sha256, found.files)).encode()).hexdigest()
        return take_embedded(_only(items, Embedded), key, reading)
    everything = list(items)
    boxes = [item for item in everything if isinstance(item, Box)]
    rows = [item for item in everything if isinstance(item, Row)]
    if boxes and rows and reading.origin.crop != "boxes":
        boxes = []  # a photo with a class of its own needs no boxes
    if boxes:
        return crop_boxes(boxes, finder, what, reading)
    return take(rows, finder, what, reading)


def _only(items: Iterable[Row | Box | Embedded], kind: type[Embedded]) -> Iterator[Embedded]:
    return (item for item in items if isinstance(item, kind))


def _find(path: Path) -> tuple[Export, Found] | None:
    """Return what finds its marks at a path, or in the one folder that holds all that a folder has."""
    for export in EXPORTS:
        if (found := export.find(path)) is not None:
            return export, found
    if path.is_dir():
        folders = folders_in(path)
        if len(folders) == 1 and not split_of(folders[0].name):
            return _find(folders[0])
    return None
