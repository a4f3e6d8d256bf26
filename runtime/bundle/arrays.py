"""Arrays from an `.npz` that is part of a bundle, each by its header before a byte of it is unpacked.

numpy's own reader makes of a few kilobytes whatever they unpack to, and knows kinds of arrays that run code. A
bundle's arrays are numbers, stored as they are: nothing in one can be larger than the file.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def read_arrays(data: bytes) -> Mapping[str, NDArray[Any]]:
    """Return the arrays of an `.npz` by name, read-only views of `data`'s own size.

    Raises:
        ValueError: it is no such archive, or one of its members is compressed, longer than the archive, or no plain
            array of numbers.
    """
    import zipfile

    from tlc_edge.runtime.zip_damage import ZIP_DAMAGE

    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            if sum(e.file_size for e in entries) > len(data):
                raise ValueError("its members are longer than itself")
            packed = next((e.filename for e in entries if e.compress_type != zipfile.ZIP_STORED), None)
            if packed is not None:
                raise ValueError(f"{packed[:40]!r} is compressed; a bundle's arrays are stored as they are")
            return {e.filename.removesuffix(".npy"): _array(archive.read(e), e.filename) for e in entries}
    except (RuntimeError, *ZIP_DAMAGE) as e:
        raise ValueError(str(e)) from None


def _array(data: bytes, name: str) -> NDArray[Any]:
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if read is None:
        raise ValueError(f"{name[:40]!r} has version {version} of its format")
    shape, fortran, dtype = read(stream)
    if dtype.kind not in "fiub" or (fortran and len(shape) > 1):
        raise ValueError(f"{name[:40]!r} holds {str(dtype)[:40]}, expected plain numbers in rows")
    start = stream.tell()
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(data) - start:
        raise ValueError(f"{name[:40]!r} has the shape {list(shape[:8])}, which does not fit its {len(data)} bytes")
    return np.frombuffer(data, dtype, math.prod(shape), start).reshape(shape)
