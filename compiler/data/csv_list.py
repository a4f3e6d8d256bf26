"""Read a `.csv` that lists image files with their labels."""

from __future__ import annotations

import csv
import io
import os
import unicodedata
from pathlib import Path

from tlc_edge.runtime.errors import DataError

from .records import SPLITS, Origin, Reading, Sample, Skipped

EXPECTED = "a .csv"
SUFFIXES: tuple[str, ...] = (".csv",)


def claims(origin: Origin) -> bool:
    """Return whether there is a file with the name of one."""
    path = Path(origin.data)
    return path.suffix.lower() in SUFFIXES and path.exists()


def read(reading: Reading) -> list[Sample]:
    """Return the images that it lists.

    Raises:
        DataError: it is no such list, or contradicts itself.
    """
    return read_list(Path(reading.origin.data), reading.skipped)


def read_list(path: Path, skipped: list[Skipped]) -> list[Sample]:
    """Return the images that a `.csv` with the header `path,label[,split]` lists; paths are relative to its folder.

    Raises:
        DataError: it is not such a file, or contradicts itself; names the line.
    """
    try:
        reader = csv.reader(io.StringIO(path.read_text("utf-8-sig")), strict=True)
        # A quoted cell may span lines: `line_num` counts lines, which is what an editor shows.
        rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if any(row)]
    except UnicodeDecodeError as e:
        raise DataError(f"{path}: not UTF-8 at byte {e.start}; save it as UTF-8") from None
    except csv.Error as e:
        raise DataError(f"{path}: not a readable CSV ({e})") from None
    header = [cell.casefold() for cell in rows[0][1]] if rows else []
    if "path" not in header or "label" not in header:
        shown = ",".join(rows[0][1])[:60] if rows else ""
        raise DataError(
            f"{path}, line 1: the header is {shown!r}, expected path,label or path,label,split; for a "
            "table of pixels give --labels and --shape"
        )
    samples: list[Sample] = []
    first: dict[str, tuple[int, str]] = {}
    for line, row in rows[1:]:
        where = f"{path}, line {line}"
        if len(row) != len(header):
            raise DataError(f"{where}: {len(row)} cells, expected {len(header)} as in the header")
        sample = _sample(path.parent, dict(zip(header, row, strict=True)), where)
        earlier, label = first.setdefault(os.path.normpath(sample.name), (line, sample.label))
        if label != sample.label:
            raise DataError(f"{where}: {sample.name} is {sample.label!r}, but {label!r} on line {earlier}")
        if earlier != line:
            skipped.append(Skipped(sample.name, f"line {line} repeats line {earlier}", label))
        elif not (path.parent / sample.name).is_file():
            skipped.append(Skipped(sample.name, f"no such file (line {line})", label))
        else:
            samples.append(sample)
    return samples


def is_list(path: Path) -> bool:
    """Whether a `.csv` has a header with path and label."""
    with path.open("rb") as file:
        header = file.readline(1000).decode("utf-8-sig", "replace").casefold().split(",")
    return {"path", "label"} <= {cell.strip().strip('"') for cell in header}


def _sample(folder: Path, cells: dict[str, str], where: str) -> Sample:
    label = unicodedata.normalize("NFC", cells["label"])
    for column, value in (("path", cells["path"]), ("label", label)):
        if not value:
            raise DataError(f"{where}: no {column}; every row needs one")
    asked = cells.get("split", "")
    if asked and asked.casefold() not in SPLITS:
        raise DataError(f"{where}: split {asked!r}, expected train, validation, test or nothing")
    return Sample(folder / cells["path"], label, SPLITS.get(asked.casefold()), cells["path"])
