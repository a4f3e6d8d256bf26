"""What an engine is to the rest, and what all of them share."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Engine(Protocol):
    """A model ready to run."""

    name: str
    version: str
    shape: tuple[int, ...]
    """Of the image it takes, [H, W, C]."""
    widths: tuple[int, ...]
    """Of the vectors it gives."""

    def run(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.float32], ...]:
        """Run one image [H, W, C] and return one vector per output, in the order asked for at opening."""
        ...


def find_output(found: dict[str, Any], name: str) -> Any:
    """Return what an engine tells of a model's output.

    Raises:
        ValueError: the model has none of that name.
    """
    if name not in found:
        raise ValueError(f"the model has no output {name!r}, only {', '.join(sorted(found))}")
    return found[name]


def vector_width(name: str, shape: Sequence[Any]) -> int:
    """Return how wide a model's output is.

    Raises:
        ValueError: it does not say so.
    """
    sizes = _sizes(shape[-1:])
    if not sizes:
        raise ValueError(f"its output {name!r} is {list(shape)}, expected [images, width]")
    return sizes[0]


def image_shape(shape: Sequence[Any]) -> tuple[int, ...]:
    """Return the shape of the image that a model takes, of its input's with the images.

    Raises:
        ValueError: it leaves its size open.
    """
    sizes = _sizes(shape[1:])
    if not sizes:
        raise ValueError(f"its input is {list(shape)}, expected [images, height, width, channels]")
    return sizes


def _sizes(shape: Sequence[Any]) -> tuple[int, ...]:
    """Return sizes; none where one is open, which has a name or nothing."""
    try:
        return tuple(operator.index(n) for n in shape)
    except TypeError:
        return ()
