"""Camera frames whose colours lie in planes behind the brightness: as an array they look like a grey picture."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_LEAST = 48  # rows; smaller ones are no camera's
_FROM_GREY = 40.0  # how far the mean of a colour plane lies from 128, at most
_SMOOTH = 4.0  # how much neighbours differ in a colour plane, in the mean, at most
_EDGE = 12.0  # how much the last row of the brightness and the first behind it differ, at least


def looks_planar(array: NDArray[Any]) -> bool:
    """Return whether a uint8 array [H, W] holds a frame of YUV 4:2:0, its planes one after the other (I420, NV12).

    The lower third is then two pictures of half the width, both around 128 and smooth, with an edge before them. The
    lower third of a grey picture, cut into rows of half the width, is smooth only where it shows nothing.
    """
    rows, columns = array.shape
    if rows < _LEAST or rows % 3 or columns % 2 or rows * 2 // 3 % 2:
        return False
    height = rows * 2 // 3
    colours = array[height:].astype(np.float32)
    edge = float(np.abs(array[height - 1].astype(np.float32) - colours[0]).mean())
    if edge < _EDGE:
        return False
    apart = colours.reshape(2, height // 2, columns // 2)
    mixed = np.moveaxis(colours.reshape(height // 2, columns // 2, 2), 2, 0)
    return any(all(_is_colour(plane) for plane in planes) for planes in (apart, mixed))


def _is_colour(plane: NDArray[np.float32]) -> bool:
    if abs(float(plane.mean()) - 128) > _FROM_GREY:
        return False
    return all(float(np.abs(np.diff(plane, axis=axis)).mean()) < _SMOOTH for axis in (0, 1))
