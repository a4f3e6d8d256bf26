"""An example as the file keeps it: an int8 vector with its scale, and the check sums that tell of damage."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tlc_edge.runtime.errors import GalleryError
from tlc_edge.runtime.vectors import quantize_row

from .records import ExampleSource

MOST_EXAMPLES = 2**31 - 1
"""That a row can speak for."""
HASH_BYTES = 32
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Packed(NamedTuple):
    """An example on its way into the file."""

    source: ExampleSource
    vector: bytes
    scale: float


def pack(vectors: NDArray[np.float32], sources: Sequence[ExampleSource], width: int) -> list[Packed]:
    """Return the examples as they are stored: `vectors` [n, width] as int8 rows with their scales.

    Raises:
        GalleryError: a vector is not finite or all zero.
        ValueError: shapes do not fit, or a hash is not one.
    """
    if vectors.shape != (len(sources), width):
        raise ValueError(f"vectors have shape {vectors.shape}, expected {(len(sources), width)}")
    packed: list[Packed] = []
    for vector, source in zip(vectors, sources, strict=True):
        if not _SHA256.fullmatch(source.sha256):
            raise ValueError(f"{source.sha256!r} is not a SHA-256 in lower-case hex digits")
        try:
            row, scale = quantize_row(vector)
        except ValueError as e:
            raise GalleryError(f"{source.name}: {e}; nothing was enrolled") from None
        packed.append(Packed(source, row.tobytes(), scale))
    return packed


def row_crc(vector: bytes, scale: float, *texts: str) -> int:
    """Return the CRC-32 of all that never changes; the label may, and an index holds it a second time."""
    return zlib.crc32("\n".join(texts).encode(), zlib.crc32(struct.pack("<d", scale), zlib.crc32(vector)))


def has_vector(vector: object, scale: object, width: int) -> bool:
    """Return whether what was read is a vector of that width with its scale."""
    return isinstance(vector, bytes) and len(vector) == width and isinstance(scale, float)


def is_thumbnail(jpeg: object, crc: object) -> bool:
    """Return whether what was read is the thumbnail that was written."""
    return isinstance(jpeg, bytes) and zlib.crc32(jpeg) == crc


def is_sound(values: Sequence[Any], width: int, crc: object, picture_crc: object) -> bool:
    """Return whether the values of a `StoredExample` that were read are those that were written."""
    number, label, vector, scale, sha256, name, at, stands_for, picture = values
    if not all(isinstance(text, str) for text in (label, sha256, name, at)):
        return False
    if not (isinstance(number, int) and is_count(stands_for) and has_vector(vector, scale, width)):
        return False
    if not _SHA256.fullmatch(sha256) or row_crc(vector, scale, sha256, name, at) != crc:
        return False
    return picture is None or is_thumbnail(picture, picture_crc)


def is_count(stands_for: object) -> bool:
    """Return whether what was read is how many examples a row speaks for."""
    return isinstance(stands_for, int) and 1 <= stands_for <= MOST_EXAMPLES


def are_images(images: Sequence[object]) -> bool:
    """Return whether what was read are hashes of images."""
    return all(isinstance(image, bytes) and len(image) == HASH_BYTES for image in images)


def storable(name: str) -> str:
    """Return a file's name as valid Unicode: Linux allows names that are not."""
    return name.encode("utf-8", "replace").decode()
