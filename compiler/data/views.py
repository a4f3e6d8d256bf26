"""Ways to look at an image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tlc_edge.runtime.bundle.manifest import Preprocessing
from tlc_edge.runtime.images.load import Source, decode_image, load_image, resize


def as_the_device(image: Image.Image, spec: Preprocessing) -> NDArray[np.uint8]:
    """Return an image as `load_image` makes it fit."""
    return resize(image, spec, Image.Resampling.BILINEAR)


@dataclass(frozen=True, eq=False)
class View:
    """A way to look at an image. An augmented copy is one with an `id` of its own."""

    id: str = ""
    """Different for all that may give other pixels; part of what the cache goes by."""
    change: Callable[[Image.Image, Preprocessing], NDArray[np.uint8]] = as_the_device
    """From an image as `decode_image` gives it, which stays as it is, to uint8 [H, W, C]; the same each time, in any
    thread."""

    def load(self, source: Source, spec: Preprocessing) -> NDArray[np.uint8]:
        """Return an image seen so, uint8 [H, W, C].

        Raises:
            ImageError: as `load_image`.
        """
        plain = self.change is as_the_device
        return load_image(source, spec) if plain else self.change(decode_image(source, spec), spec)


PLAIN = View()
