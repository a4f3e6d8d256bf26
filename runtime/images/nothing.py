"""Images with nothing on them: they teach a class that is no thing, and no message of a decoder names them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 16
ONE_COLOUR = "one colour and nothing on it"
_SPREAD = 1  # grey levels of a thumbnail's means that say nothing


def thumbnail(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return an image [H, W, C] as [SIDE, SIDE, C], each pixel the mean of an area."""
    height, width, channels = image.shape
    if height % (2 * SIDE) == 0 == width % (2 * SIDE):
        image = image[::2, ::2]  # enough for a mean, and a third of the time
    picture = Image.fromarray(np.ascontiguousarray(image[:, :, 0] if channels == 1 else image))
    small = picture.resize((SIDE, SIDE), Image.Resampling.BOX)
    return np.asarray(small).reshape(SIDE, SIDE, channels)


def is_one_colour(small: NDArray[np.uint8]) -> bool:
    """Whether the means of the areas of an image, as `thumbnail` gives them, are all the same."""
    flat = small.reshape(-1, small.shape[-1])
    return bool((np.ptp(flat, axis=0) <= _SPREAD).all())
