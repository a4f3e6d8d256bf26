"""Images as people give them: several, or only one where several could be."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, cast

import numpy as np
from PIL import Image

from .load import Source

_ONE = (str, os.PathLike, bytes, bytearray, memoryview, Image.Image)


def each_image(images: Source | Iterable[Source]) -> Iterable[Source]:
    """Return `images` as they are where they are several, and as the only one where they are one.

    Most kinds of image can be iterated too: a path gives letters, a file lines, an array its rows. An array
    is several images where it has four dimensions, [N, H, W, C], or one with paths or other objects in it.
    What cannot be iterated counts as one image, so that whoever reads it says what it is.
    """
    if isinstance(images, np.ndarray):
        array = cast("np.ndarray[Any, Any]", images)
        several = array.ndim == 4 or (array.ndim == 1 and array.dtype.kind in "OU")
    elif isinstance(images, _ONE) or hasattr(images, "read"):
        several = False
    else:
        # A data set may have numbered items only, which `iter` takes as well.
        several = hasattr(images, "__iter__") or hasattr(images, "__getitem__")
    return cast("Iterable[Source]", images) if several else [cast("Source", images)]
