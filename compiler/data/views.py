"""Ways to look at an image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tlc_edge.runtime.bundle.manifest import Preprocessing
from tlc_edge.runtime.images.load import Source, load_image


@dataclass(frozen=True, eq=False)
class View:
    """A way to look at an image. An augmented copy is one with an `id` of its own."""

    id: str = ""
    """Different for all that may give other pixels; part of what the cache goes by."""
    load: Callable[[Source, Preprocessing], NDArray[np.uint8]] = load_image
    """From an image's bytes or array to uint8 [H, W, C]; the same each time, in any thread."""


PLAIN = View()
