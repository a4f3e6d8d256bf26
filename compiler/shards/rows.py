"""The rows of a shard, as Parquet: one for each image of its list, in its order.

`name`, `label`, `split`, `group`; `url`, `start`, `size`, `row` (where it is to be had again), `etag`; `digest`
(SHA-256), `hash` (perceptual, see `data/duplicates.py`), `thumbnail`; `reason` (why it cannot be used, else null);
`f0`, `f1` and so on: the features of each look of the pass, float16, or float32 where that does not hold one of them.
The same rows give the same bytes with the same pyarrow: no dictionaries, no statistics, one group of rows.
"""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.data.duplicates import HASH_BYTES
from tlc_edge.compiler.features.half import packed
from tlc_edge.runtime.errors import DataError
from tlc_edge.runtime.install import pip_line

Half = NDArray[np.float16] | NDArray[np.float32]
_TEXTS = ("name", "label", "split", "group", "url", "etag", "reason")
_NUMBERS = ("start", "size", "row")
_BYTES = ("digest", "hash", "thumbnail")


@dataclass(frozen=True, eq=False)
class Row:
    """One image of a shard, without its features."""

    name: str
    label: str
    split: str | None
    group: str | None
    url: str
    """Address, or path on a disk that all share."""
    start: int
    """Where it begins in that file; -1: it is the file."""
    size: int
    """Bytes; -1 in a Parquet file."""
    row: int
    """Of a Parquet file; else -1."""
    etag: str
    digest: bytes = b""
    hash: bytes = bytes(HASH_BYTES)
    thumbnail: bytes = b""
    reason: str | None = None


def require_pyarrow() -> None:
    """Check that Parquet can be read and written.

    Raises:
        DataError: pyarrow is missing; says the pip line that brings it.
    """
    if importlib.util.find_spec("pyarrow") is None:
        raise DataError(f"pyarrow, which shards are written with, is missing; run: {pip_line('cluster')}")


def pack(rows: Sequence[Row], features: Sequence[Half], recipe: str) -> bytes:
    """Return rows and their features, [N, F] for each look, as Parquet; `recipe` is kept in its metadata."""
    import pyarrow as pa
    from pyarrow import parquet

    columns: dict[str, Any] = {}
    for name in _TEXTS:
        columns[name] = pa.array([_clean(getattr(row, name)) for row in rows], pa.string())
    for name in _NUMBERS:
        columns[name] = pa.array([getattr(row, name) for row in rows], pa.int64())
    for name in _BYTES:
        columns[name] = pa.array([getattr(row, name) for row in rows], pa.binary())
    for i, look in enumerate(features):
        flat = pa.array(np.ascontiguousarray(packed(np.asarray(look, np.float32))).reshape(-1))
        columns[f"f{i}"] = pa.FixedSizeListArray.from_arrays(flat, look.shape[1])
    table = pa.table(columns).replace_schema_metadata({"tlc": recipe})
    out = io.BytesIO()
    parquet.write_table(
        table, out, row_group_size=max(1, len(rows)), compression="zstd", use_dictionary=False, write_statistics=False
    )
    return out.getvalue()


def unpack(data: bytes, recipe: str, what: str, looks: Sequence[int] = ()) -> tuple[list[Row], list[Half]]:
    """Return the rows of a shard, and of these looks their features.

    Raises:
        DataError: it is damaged, or another recipe's.
    """
    import pyarrow as pa
    from pyarrow import parquet

    wanted = [*_TEXTS, *_NUMBERS, *_BYTES, *(f"f{i}" for i in looks)]
    try:
        table: Any = parquet.read_table(pa.BufferReader(data), columns=wanted)
        if (table.schema.metadata or {}).get(b"tlc") != recipe.encode():
            raise DataError(f"{what}: a shard of another plan; remove it and run the shard again")
        lists = [table.column(name).to_pylist() for name in wanted[: len(wanted) - len(looks)]]
        rows = [Row(**dict(zip(wanted, cells, strict=False))) for cells in zip(*lists, strict=True)]
        found: list[Half] = []
        for i in looks:
            column = table.column(f"f{i}").combine_chunks()
            flat = np.asarray(column.values.to_numpy(zero_copy_only=False))
            found.append(flat.reshape(len(rows), column.type.list_size))
        return rows, found
    except (pa.ArrowException, KeyError, ValueError, TypeError, AttributeError, OSError) as e:
        raise DataError(f"{what}: a damaged shard ({type(e).__name__}); remove it and run the shard again") from None


def _clean(text: str | None) -> str | None:
    """Return a text that UTF-8 can hold; a name on a disk may be any bytes."""
    return None if text is None else text.encode("utf-8", "backslashreplace").decode()
