"""A frame as a JPEG: for who is told, and for who sorts it later."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from tlc_edge.runtime.bundle.manifest import Preprocessing
from tlc_edge.runtime.images.load import decode_image

from .frames import Frame


def jpeg(frame: Frame, spec: Preprocessing, side: int, quality: int) -> bytes:
    """Return a frame as a JPEG of at most `side` pixels a side, without what the file says beside its pixels.

    Raises:
        ImageError: it cannot be read.
    """
    source = frame.image
    if isinstance(source, np.ndarray) and frame.order == "BGR" and source.ndim == 3:
        source = np.ascontiguousarray(source[:, :, ::-1])
    image = decode_image(source, spec)
    image.thumbnail((side, side), Image.Resampling.BILINEAR)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return out.getvalue()
