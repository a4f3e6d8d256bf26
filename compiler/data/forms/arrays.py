"""Images that come as arrays of numbers: the scale of their pixels, and labels as one-hot rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlc_edge.runtime.errors import DataError


def find_scale(low: float, high: float, where: str) -> int:
    """Return 1 for pixel values that run from 0 to 255, 255 for those from 0 to 1; `low` and `high` are the extremes.

    Images whose brightest value anywhere is 1 would be black on the scale of 255, so they are on the other.

    Raises:
        DataError: the values are on neither scale.
    """
    if not (0 <= low <= high <= 255):  # not a number fails this too
        raise DataError(f"{where}: values from {low:g} to {high:g}, expected pixels from 0 to 255 or from 0 to 1")
    return 255 if 0 < high <= 1 else 1


def scale_note(scale: int, high: float, where: str) -> str:
    """Return the sentence that says which scale was found."""
    if scale == 255:
        return f"{where}: values from 0 to 1, taken as black to white (times 255)"
    return f"{where}: values up to {high:g}, taken as pixels from 0 to 255"


def to_pixels(values: NDArray[Any], scale: int) -> NDArray[np.uint8]:
    """Return values on a scale found by `find_scale` as uint8."""
    if values.dtype == np.uint8 and scale == 1:
        return values
    return np.rint(values.astype(np.float32) * scale).astype(np.uint8)


def is_one_hot(rows: NDArray[Any]) -> bool:
    """Whether each row of a table [N, C] of numbers is 0 but for a single 1."""
    return rows.dtype.kind in "uifb" and bool(np.isin(rows, (0, 1)).all() and (rows.sum(axis=1) == 1).all())
