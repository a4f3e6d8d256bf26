"""Images with nothing on them: of one colour, of one pixel, or only the preview in a camera's raw file.

They teach a class that is no thing, and no message of a decoder names them: so they are looked for.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .records import Sample

ONE_COLOUR = "one colour and nothing on it"
PREVIEW = "a camera's raw file, of which only a small preview can be read; convert it to JPEG"
_RAW = frozenset({".arw", ".cr2", ".cr3", ".dng", ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".srw"})
_MAGIC = (b"II*\0\x10\0\0\0CR", b"IIU\0", b"IIRO", b"IIRS", b"MMOR", b"FUJIFILMCCD-RAW", b"\0\0\0\x18ftypcrx ")
_TIFF = (b"II*\0", b"MM\0*")
_SUBFILE, _DNG = 254, 50706
"""Tags of TIFF 6.0 (bit 0: a smaller version of another image in the file) and of DNG 1.4 (its version)."""
_SPREAD = 1  # grey levels of a thumbnail's means that say nothing


def is_one_colour(thumbnail: NDArray[np.uint8]) -> bool:
    """Whether the means of the areas of an image [H, W, C] are all the same, as those of 1x1 pixels are."""
    flat = thumbnail.reshape(-1, thumbnail.shape[-1])
    return bool((np.ptp(flat, axis=0) <= _SPREAD).all())


def is_preview(sample: Sample, content: bytes | NDArray[np.uint8]) -> bool:
    """Whether what would be decoded of a file is not its picture but the preview of a raw one, by name or content."""
    if isinstance(sample.source, Path) and sample.source.suffix.lower() in _RAW:
        return True
    if not isinstance(content, bytes):
        return False
    return content.startswith(_MAGIC) or (content.startswith(_TIFF) and _starts_with_preview(content))


def _starts_with_preview(content: bytes) -> bool:
    try:
        with Image.open(io.BytesIO(content)) as image:
            tags: Any = getattr(image, "tag_v2", {})
            return _DNG in tags or bool(int(tags.get(_SUBFILE, 0)) & 1)
    except Exception:  # a damaged one is told where it is decoded
        return False
