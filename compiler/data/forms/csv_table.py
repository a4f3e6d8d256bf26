"""Read the text of a `.csv` as people's programs write it."""

from __future__ import annotations

import codecs
import csv
import io
import re
from dataclasses import dataclass
from pathlib import Path

from tlc_edge.runtime.errors import DataError, UsageError

_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_DELIMITERS = (",", ";", "\t", "|")


@dataclass(frozen=True)
class Table:
    """A `.csv` with a header; cells have no spaces around them."""

    path: Path
    header: tuple[str, ...]
    """In lower case."""
    names: tuple[str, ...]
    """As it is written."""
    rows: tuple[tuple[int, tuple[str, ...]], ...]
    """The rows that are not empty, each with the number of its line."""


def check_encoding(encoding: str) -> str:
    """Return the name of an encoding.

    Raises:
        UsageError: Python knows none of that name.
    """
    try:
        "".encode(encoding)
    except (LookupError, ValueError, UnicodeError):
        raise UsageError(
            f"--encoding {encoding!r} is not known; expected one such as gbk, shift_jis or cp850"
        ) from None
    return encoding


def read_text(path: Path, encoding: str | None = None) -> str:
    """Return the text of a file in UTF-8, in UTF-16 with its mark, or in `encoding`.

    Raises:
        DataError: it is in another one.
        UsageError: there is no such encoding.
    """
    data = path.read_bytes()
    name = next((name for mark, name in _MARKS if data.startswith(mark)), None)
    name = name or check_encoding(encoding or "utf-8")
    try:
        return data.decode(name)
    except UnicodeDecodeError as e:
        said = "UTF-8" if name.startswith("utf-8") else name
        raise DataError(f"{path}: not {said} at byte {e.start}; save it as UTF-8, or name its --encoding") from None


def read_csv(path: Path, encoding: str | None = None) -> Table:
    """Return a `.csv` with a header, its cells parted by commas, semicolons, tabs or bars.

    Raises:
        DataError: it is none, in another encoding, or a row has another number of cells; names the line.
        UsageError: there is no such encoding.
    """
    text = read_text(path, encoding)
    start = text.lstrip().partition("\n")[0]
    told = re.fullmatch(r"sep=(.)\s*", start, re.IGNORECASE)  # as Excel has it, in a line before the header
    try:
        delimiter = told[1] if told else max(_DELIMITERS, key=start.count)
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        # A quoted cell may span lines: `line_num` counts lines, which is what an editor shows.
        rows = [(reader.line_num, tuple(cell.strip() for cell in row)) for row in reader if any(map(str.strip, row))]
    except csv.Error as e:
        raise DataError(f"{path}: not a readable CSV ({e})") from None
    rows = rows[1:] if told else rows
    names = rows[0][1] if rows else ()
    for line, row in rows[1:]:
        if len(row) != len(names):
            raise DataError(f"{path}, line {line}: {len(row)} cells, expected {len(names)} as in the header")
    return Table(path, tuple(name.casefold() for name in names), names, tuple(rows[1:]))
