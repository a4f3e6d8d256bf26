"""Read a `.csv` that lists image files with their labels, as people and other tools write it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tlc_edge.compiler.data.records import Origin, Reading, Sample
from tlc_edge.runtime.errors import DataError, TlcError

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
    *("image_id", "imageid", "img", "id", "name"),
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
)
"""Columns that say what it is, the clearest first."""
_SPLIT = ("split", "set", "subset", "data set")
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
    split_at = next((table.header.index(name) for name in _SPLIT if name in table.header), None)
    if label_at is not None:
        _refuse_several(table, label_at)
    for line, row in table.rows:
        where = f"{table.path}, line {line}"
        label = _marked(table, row, at, where) if label_at is None else row[label_at]
        for column, value in (("path", row[at]), ("label", label)):
            if not value:
                raise DataError(f"{where}: no {column}; every row needs one")
        split = None if split_at is None else split_named(row[split_at], where)
        yield Row(row[at], label, split, f"line {line}")


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
    return at, labels[0] if labels else None


def _is_one_hot(table: Table, at: int) -> bool:
    cells = (cell.casefold() for _, row in table.rows for i, cell in enumerate(row) if i != at)
    return all(cell in _ONE_HOT for cell in cells)


def _marked(table: Table, row: tuple[str, ...], at: int, where: str) -> str:
    """Return the one class that a row marks with 1."""
    marked = [table.names[i] for i, cell in enumerate(row) if i != at and _ONE_HOT[cell.casefold()]]
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
    marks = {"tags": " ,;|", "labels": ",;|"}.get(table.header[at], "")
    for line, row in table.rows:
        cell = row[at]
        if (cell[:1] in "[{" and cell[-1:] in "]}" and cell) or any(mark in cell for mark in marks):
            raise several(f"{table.path}, line {line}: an image", [cell])
