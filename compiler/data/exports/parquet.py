"""Parquet with the bytes of images, as the Hugging Face Hub keeps data sets.

https://huggingface.co/docs/datasets/about_dataset_features
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from tlc_edge.compiler.data.forms.csv_list import LABELS, several
from tlc_edge.compiler.data.forms.embedded import Embedded
from tlc_edge.compiler.data.forms.split_folders import split_of
from tlc_edge.runtime.errors import DataError
from tlc_edge.runtime.install import pip_line

from .found import Found, as_written_by

NAME = "Parquet with images"
_IMAGES = ("image", "img", "picture", "photo", "bytes")
_ROWS = 256  # read at a time


def find(path: Path) -> Found | None:
    """Return the files at a path: one, or those in a folder or its `data/`."""
    if not path.is_dir():
        return Found(path.parent, (path,)) if path.suffix.lower() == ".parquet" else None
    files = tuple(sorted([*path.glob("*.parquet"), *path.glob("data/*.parquet"), *path.glob("*/*.parquet")]))
    return Found(path, tuple(dict.fromkeys(files))) if files else None


def rows(found: Found) -> Iterator[Embedded]:
    """Yield the images.

    Raises:
        DataError: pyarrow is missing, or a file is damaged or holds something else.
    """
    if importlib.util.find_spec("pyarrow") is None:
        raise DataError(f"{found.files[0]}: pyarrow, which reads Parquet, is missing; run: {pip_line('parquet')}")
    import pyarrow
    from pyarrow import parquet

    for file in found.files:
        split = split_of(file.stem.partition("-")[0]) or split_of(file.parent.name)
        try:
            opened: Any = parquet.ParquetFile(file)
        except (pyarrow.ArrowException, OSError, ValueError) as e:
            raise DataError(f"{file}: not readable Parquet ({e})") from None
        with opened, as_written_by("Hugging Face", file):
            yield from _images(file, opened, split)


def _images(file: Path, opened: Any, split: str | None) -> Iterator[Embedded]:
    columns: list[str] = opened.schema_arrow.names
    image = next((name for name in _IMAGES if name in columns), None)
    label = next((name for name in LABELS if name in columns), None)
    if image is None or label is None:
        raise DataError(f"{file}: columns {', '.join(columns)[:80]}; expected image and label")
    names = _names(opened.schema_arrow, label)
    number = 0
    for batch in opened.iter_batches(batch_size=_ROWS, columns=[image, label]):
        for cell, value in zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True):
            name = f"{file.name}[{number}]"
            number += 1
            if isinstance(value, list):
                raise several(f"{file}: {name}", [str(of) for of in value])
            data = cell["bytes"] if isinstance(cell, dict) else cell
            if not isinstance(data, bytes):
                raise DataError(f"{file}: {name} has no bytes, only a path; give the folder of images")
            if value is not None and not (names and value == -1):  # -1 is how the Hub says that there is none
                yield Embedded(data, names[value] if names else str(value), split, name)


def read_group(name: str, opened: IO[bytes], row: int) -> tuple[int, list[bytes | None]]:
    """Return the first row of the group of rows that holds `row`, and the images of that group.

    Raises:
        DataError: it is no such Parquet, or has no such row.
    """
    import pyarrow
    from pyarrow import parquet

    try:
        file: Any = parquet.ParquetFile(opened)
        first = 0
        for group in range(file.num_row_groups):
            count = file.metadata.row_group(group).num_rows
            if row < first + count:
                image = next(column for column in _IMAGES if column in file.schema_arrow.names)
                cells = file.read_row_group(group, columns=[image]).column(0).to_pylist()
                return first, [cell["bytes"] if isinstance(cell, dict) else cell for cell in cells]
            first += count
    except (pyarrow.ArrowException, OSError, ValueError, StopIteration) as e:
        raise DataError(f"{name}: not readable Parquet ({e})") from None
    raise DataError(f"{name}: has {first} rows, so no row {row}")


def _names(schema: Any, label: str) -> list[str] | None:
    """Return the names of the classes that a column has the numbers of, as the Hub's metadata say."""
    kept = (schema.metadata or {}).get(b"huggingface")
    feature: Any = json.loads(kept)["info"]["features"].get(label, {}) if kept else {}
    return feature.get("names") if isinstance(feature, dict) else None
