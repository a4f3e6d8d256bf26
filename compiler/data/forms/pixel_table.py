"""Read pixel tables: a `.csv` with one flattened image per row, and another with the labels."""

from __future__ import annotations

import csv
import itertools
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.data.records import Origin, Reading, Sample
from tlc_edge.runtime.errors import DataError, UsageError

from .arrays import find_scale, is_one_hot, scale_note, to_pixels

EXPECTED = ""
SUFFIXES: tuple[str, ...] = (".csv",)

_BLOCK = 1000
"""Rows parsed at a time, so that a large table is never in memory as text or as floats."""

_MARKS = {"true": "1", "false": "0"}
"""How pandas 2 and later write one-hot columns."""


def claims(origin: Origin) -> bool:
    """Return whether labels and shape say that it is a table of pixels."""
    return origin.labels is not None and origin.shape is not None


def read(reading: Reading) -> list[Sample]:
    """Return the images of the table with their labels.

    Raises:
        UsageError: the shape is none.
        DataError: the files are not there, or no such tables.
    """
    origin = reading.origin
    shape = parse_shape(origin.shape or "")
    images, labels = reading.existing(origin.data), reading.existing(origin.labels or "")
    reading.recognised.append("a table of pixels")
    return read_table(images, labels, shape, reading.limit, reading.notes)


def parse_shape(text: str) -> tuple[int, ...]:
    """Return `H,W` or `H,W,C` as numbers.

    Raises:
        UsageError: it is something else.
    """
    try:
        shape = tuple(int(part) for part in text.replace("x", ",").split(","))
    except ValueError:
        shape = ()
    if len(shape) not in (2, 3) or min(shape) < 1 or (len(shape) == 3 and shape[2] not in (1, 3, 4)):
        raise UsageError(f"shape {text!r}, expected height,width or height,width,channels such as 28,28,1")
    return shape


def read_table(images: Path, labels: Path, shape: tuple[int, ...], limit: int | None, notes: list[str]) -> list[Sample]:
    """Return the images of a pixel table [N, H * W * C], row by row, with the labels of another.

    Either may start with a header, and with the column of row numbers that pandas writes; column numbers
    as a header are told from pixels by their running from 0 (or 1) to the end. The labels are one column
    of names below a header, or one-hot columns below their names. At most `limit` rows of both are read.

    Raises:
        DataError: the tables are not that, or do not belong together; names the file and the line.
    """
    pixels = _pixels(images, shape, limit, notes)
    names = _labels(labels, limit)
    if len(pixels) != len(names):
        raise DataError(f"{images} has {len(pixels)} images, but {labels} has {len(names)} labels; expected as many")
    return [Sample(pixels[i], name, None, f"{images.stem}[{i}]") for i, name in enumerate(names)]


def _pixels(path: Path, shape: tuple[int, ...], limit: int | None, notes: list[str]) -> NDArray[np.uint8]:
    width = int(np.prod(shape))
    waiting: list[NDArray[np.float32]] = []  # until a value above 1 shows the scale
    done: list[NDArray[np.uint8]] = []
    low, high = np.inf, -np.inf
    with path.open("rb") as file:
        for block in _blocks(path, file, width, limit, notes):
            low, high = float(np.minimum(low, block.min())), float(np.maximum(high, block.max()))  # keep NaN
            if find_scale(low, high, str(path)) == 1 and high > 1:
                done += [to_pixels(values, 1) for values in (*waiting, block)]
                waiting.clear()
            else:
                waiting.append(block)
    if not done and not waiting:
        raise DataError(f"{path}: no rows of pixels in it")
    scale = find_scale(low, high, str(path))
    notes.append(scale_note(scale, high, str(path)))
    done += [to_pixels(values, scale) for values in waiting]
    return np.concatenate(done).reshape(-1, *shape)


def _blocks(path: Path, file: Any, width: int, limit: int | None, notes: list[str]) -> Iterator[NDArray[np.float32]]:
    """Yield float32 [at most _BLOCK, width]; reads no more rows than asked for."""
    rows: Iterator[tuple[int, bytes]] = ((number, line) for number, line in enumerate(file, 1) if line.strip())
    first = next(rows, None)
    if first is None:
        return
    cells = [cell.strip().strip('"') for cell in first[1].decode("utf-8-sig", "replace").split(",")]
    header = _is_header(cells)
    numbered = header and len(cells) == width + 1 and cells[0] in ("", "Unnamed: 0")
    if len(cells) != width + numbered:
        raise DataError(f"{path}, line {first[0]}: {len(cells)} cells, expected {width} as the shape says")
    if header:
        notes.append(f"{path}: its first row is a header, from {cells[numbered]!r} to {cells[-1]!r}")
    else:
        rows = itertools.chain([first], rows)
    rows = itertools.islice(rows, limit)
    while block := list(itertools.islice(rows, _BLOCK)):
        yield _parse(path, block, width + numbered)[:, int(numbered) :]


def _is_header(cells: list[str]) -> bool:
    try:
        values = [float(cell) for cell in cells]
    except ValueError:
        return True
    return len(cells) > 1 and values in ([*range(len(cells))], [*range(1, len(cells) + 1)])


def _parse(path: Path, block: list[tuple[int, bytes]], width: int) -> NDArray[np.float32]:
    lines = [line.decode("ascii", "replace") for _, line in block]
    try:
        table = np.loadtxt(lines, np.float32, comments=None, delimiter=",", ndmin=2, quotechar='"')
    except ValueError:
        table = np.empty((0, 0), np.float32)
    if table.shape == (len(block), width):
        return table
    for number, line in block:  # slowly: which line was it?
        cells = line.decode("ascii", "replace").split(",")
        if len(cells) != width:
            raise DataError(f"{path}, line {number}: {len(cells)} cells, expected {width} as the shape says")
        for cell in cells:
            try:
                float(cell.strip().strip('"'))
            except ValueError:
                raise DataError(f"{path}, line {number}: {cell.strip()[:40]!r} is not a number") from None
    raise DataError(f"{path}, lines {block[0][0]} to {block[-1][0]}: not a table of numbers")


def _labels(path: Path, limit: int | None) -> list[str]:
    header, rows = _label_rows(path, limit)
    if header[0][:1] in ("", "Unnamed: 0") and len(header) > 1:
        header, rows = header[1:], [(number, row[1:]) for number, row in rows]
    for number, row in rows:
        if len(row) != len(header) or not all(row):
            filled = sum(map(bool, row))
            raise DataError(f"{path}, line {number}: {filled} labels or marks, expected {len(header)} as in the header")
    if len(header) == 1:
        return [unicodedata.normalize("NFC", row[0]) for _, row in rows]
    marks = np.array([[_mark(cell) for cell in row] for _, row in rows], np.float64)
    if not is_one_hot(marks):
        bad = [number for (number, _), row in zip(rows, marks, strict=False) if not is_one_hot(row[None])]
        raise DataError(
            f"{path}, line {bad[0]}: neither one column of names nor one-hot columns (0 but for a single 1 a row)"
        )
    return [unicodedata.normalize("NFC", header[i]) for i in marks.argmax(axis=1)]


def _mark(cell: str) -> float:
    try:
        return float(_MARKS.get(cell.lower(), cell))
    except ValueError:
        return np.nan  # which no one-hot row holds


def _label_rows(path: Path, limit: int | None) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Return the header and the rows, each with its line's number."""
    try:
        with path.open("rb") as file:
            reader = csv.reader(line.decode("utf-8-sig" if i == 0 else "utf-8") for i, line in enumerate(file))
            filled = ((reader.line_num, [cell.strip() for cell in row]) for row in reader if any(map(str.strip, row)))
            lines = list(itertools.islice(filled, None if limit is None else limit + 1))
    except UnicodeDecodeError as e:
        raise DataError(f"{path}: not UTF-8 ({e.reason}); save it as UTF-8") from None
    except csv.Error as e:
        raise DataError(f"{path}: not a readable CSV ({e})") from None
    if len(lines) < 2:
        raise DataError(f"{path}: no labels in it; expected a header and a row for each image")
    return lines[0][1], lines[1:]
