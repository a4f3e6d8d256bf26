"""Read a `.csv` that lists image files with their labels, as people and other tools write it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tlc_edge.compiler.data.records import Origin, Reading, Sample
from tlc_edge.runtime.errors import DataError, TlcError

from .boxes import Box, crop_boxes
from .csv_table import Table, read_csv
from .listing import Finder, Row, split_named, take

EXPECTED = "a .csv"
SUFFIXES: tuple[str, ...] = (".csv", ".tsv")
PATHS = (
    *(
        "path",
        "file",
        "filename",
        "file_name",
        "filepath",
        "file_path",
        "image",
        "image_path",
        "image_name",
        "imagename",
    ),
    *("image_paths", "filepaths", "img_path", "img_name", "image index", "image_id", "imageid", "img", "id_code"),
    *("id", "name"),
)
"""Columns that name an image, the clearest first."""
LABELS = (
    "label",
    "class",
    "category",
    "class_name",
    "label_name",
    "target",
    "breed",
    "species",
    "choice",
    "labels",
    "tags",
    *("diagnosis", "dx", "finding labels", "classid", "class_id", "label_id"),
)
"""Columns that say what it is, the clearest first."""
_SPLIT = ("split", "set", "subset", "data set")
_FLAGS = {
    **dict.fromkeys(("is_valid", "is_val", "is_validation"), ("validation", "train")),
    "is_test": ("test", "train"),
    **dict.fromkeys(("is_train", "is_training"), ("train", "test")),
}
"""Columns of true and false in place of one for the split, and what each means."""
_EDGES = (("xmin", "ymin", "xmax", "ymax"), ("x_min", "y_min", "x_max", "y_max"))
_ONE_HOT = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1}


def claims(origin: Origin) -> bool:
    """Return whether there is a file with the name of one."""
    path = Path(origin.data)
    return path.suffix.lower() in SUFFIXES and path.exists()


def read(reading: Reading) -> list[Sample]:
    """Return the images that it lists; paths are relative to its folder.

    Raises:
        DataError: it is no such list, or contradicts itself; names the line.
    """
    path = Path(reading.origin.data)
    table = read_csv(path, reading.origin.encoding)
    if not _is_list(table):
        shown = ",".join(table.names)[:60]
        raise DataError(
            f"{path}, line 1: the header is {shown!r}, expected path,label or path,label,split; for a "
            "table of pixels give --labels and --shape"
        )
    reading.recognised.append("a list of images with their labels")
    plain = "path" in table.header  # where it says a path, it means one
    finder = Finder(path.parent, reading.within, by_name=not plain, preferred=path.stem.casefold())
    if has_boxes(table):
        return crop_boxes(box_rows(table), finder, str(path), reading)
    return take(list_rows(table), finder, str(path), reading)


def is_list(path: Path) -> bool:
    """Whether a `.csv` has a header that names images and says what they are."""
    try:
        return _is_list(read_csv(path))
    except TlcError:
        return False


def list_rows(table: Table) -> Iterator[Row]:
    """Yield what a list says of each image: by a column of labels, or by one column for each class with 0 and 1.

    Raises:
        DataError: a row has no path or no label, or several labels; names the line.
    """
    at, label_at = _columns(table)
    if label_at is not None:
        _refuse_several(table, label_at)
    for line, row in table.rows:
        where = f"{table.path}, line {line}"
        label = _marked(table, row, at, where) if label_at is None else row[label_at]
        for column, value in (("path", row[at]), ("label", label)):
            if not value:
                raise DataError(f"{where}: no {column}; every row needs one")
        yield Row(row[at], label, _split(table, row, where), f"line {line}")


def has_boxes(table: Table) -> bool:
    """Whether a list has a line for each box in a photo, as TensorFlow's object detection takes it."""
    return any(set(edges) <= set(table.header) for edges in _EDGES)


def box_rows(table: Table) -> Iterator[Box]:
    """Yield the boxes of a list that has them; a line without edges says that there is nothing, and is passed over.

    Raises:
        DataError: a line has no photo or no label, or edges that are no numbers; names the line.
    """
    at, label_at = _columns(table)
    columns = [table.header.index(edge) for edge in next(of for of in _EDGES if set(of) <= set(table.header))]
    lines = [(line, row, [row[i] for i in columns]) for line, row in table.rows]
    try:
        boxes = [(line, row, list(map(float, cells))) for line, row, cells in lines if any(cells)]
    except ValueError as e:
        raise DataError(f"{table.path}: the edge of a box is no number ({e})") from None
    if label_at is None or at < 0:
        raise DataError(f"{table.path}: boxes without a column of labels; expected filename,class and their edges")
    shares = all(edge <= 1 for _, _, edges in boxes for edge in edges)
    for line, row, (left, top, right, bottom) in boxes:
        where = f"{table.path}, line {line}"
        if not row[at] or not row[label_at]:
            raise DataError(f"{where}: no {'path' if row[label_at] else 'label'}; every box needs one")
        yield Box(row[at], row[label_at], left, top, right, bottom, _split(table, row, where), shares)


def _split(table: Table, row: tuple[str, ...], where: str) -> str | None:
    """Return the split that a row says, by its name or by a column of true and false."""
    at = next((table.header.index(name) for name in _SPLIT if name in table.header), None)
    if at is not None:
        return split_named(row[at], where)
    flag = next((name for name in _FLAGS if name in table.header), None)
    if flag is None:
        return None
    said = row[table.header.index(flag)].casefold()
    if said not in _ONE_HOT:
        raise DataError(f"{where}: {flag} is {said[:40]!r}, expected true or false")
    return _FLAGS[flag][0 if _ONE_HOT[said] else 1]


def _is_list(table: Table) -> bool:
    at, label_at = _columns(table)
    if at < 0:
        return False
    return label_at is not None or (len(table.header) > 2 and bool(table.rows) and _is_one_hot(table, at))


def _columns(table: Table) -> tuple[int, int | None]:
    """Return the places of the columns of paths (-1: none) and of labels."""
    header = table.header
    at = next((header.index(name) for name in PATHS if name in header), -1)
    labels = [header.index(name) for name in LABELS if name in header]
    if not labels and at >= 0 and len(header) == 2 and not _is_one_hot(table, at):
        labels = [1 - at]
    return at, _named(table, labels) if labels else None


def _named(table: Table, columns: list[int]) -> int:
    """Return the column of labels: the clearest, or the one that names the classes which that numbers."""
    first, *others = columns
    numbers = [row[first] for _, row in table.rows]
    if others and all(number.isdecimal() for number in numbers):
        for other in others:
            names = [row[other] for _, row in table.rows]
            pairs = set(zip(numbers, names, strict=True))
            if len(pairs) == len(set(numbers)) == len(set(names)) and not all(name.isdecimal() for name in names):
                return other
    return first


def _classes(table: Table, at: int) -> list[int]:
    """Return the columns that may each be a class: all but those of the path and the split."""
    return [i for i, name in enumerate(table.header) if i != at and name not in _SPLIT and name not in _FLAGS]


def _is_one_hot(table: Table, at: int) -> bool:
    columns = _classes(table, at)
    return all(row[i].casefold() in _ONE_HOT for _, row in table.rows for i in columns)


def _marked(table: Table, row: tuple[str, ...], at: int, where: str) -> str:
    """Return the one class that a row marks with 1."""
    marked = [table.names[i] for i in _classes(table, at) if _ONE_HOT[row[i].casefold()]]
    if len(marked) > 1:
        raise several(f"{where}: {row[at]}", marked)
    return marked[0] if marked else ""


def several(where: str, labels: list[str]) -> DataError:
    """Return the error for an image with several labels."""
    names = " and ".join(map(repr, labels[:3])) + (" and more" if len(labels) > 3 else "")
    return DataError(f"{where} is {names}: multi-label data are not read; give each image one label")


def _refuse_several(table: Table, at: int) -> None:
    """Refuse labels that are lists: those of a column in the plural with marks in them, and brackets in any.

    Raises:
        DataError: there is one.
    """
    marks = {"tags": " ,;|", "labels": ",;|", "finding labels": "|"}.get(table.header[at], "")
    for line, row in table.rows:
        cell = row[at]
        if (cell[:1] in "[{" and cell[-1:] in "]}" and cell) or any(mark in cell for mark in marks):
            raise several(f"{table.path}, line {line}: an image", [cell])
