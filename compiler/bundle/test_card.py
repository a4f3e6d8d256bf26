"""The test card: a drawn picture that shows at once when a device prepares images in another way.

Whatever the training images are, grey or flat or smaller than the model's input, the card has all colours, an edge
of another colour on each side, and lines finer than a pixel of the model's input.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_TALLER, _WIDER = 2.3, 3.1
"""How much larger than the model's input; neither a whole number nor alike, so that cropping and no anti-alias show."""


def draw_card(height: int, width: int) -> NDArray[np.uint8]:
    """Return the card for a model with an input of [height, width], as uint8 RGB [H, W, 3]."""
    h, w = round(height * _TALLER), round(width * _WIDER)
    y, x = np.mgrid[0:h, 0:w]
    down, across = y / (h - 1), x / (w - 1)
    card = np.stack([255 * across, 255 * down, 255 * (1 - across) * (1 - down)], axis=-1)
    # Lines of one pixel: anti-aliased they become grey, without they stay black and white, or vanish.
    fine = (down > 0.3) & (down < 0.5)
    card[fine] = np.where((x % 2 == 0)[fine], 255, 0)[:, None]
    squares = (down > 0.55) & (down < 0.75)
    card[squares] = np.where(((x + y) % 2 == 0)[squares], 255, 0)[:, None] * np.array([1.0, 0.5, 0.0])
    edge_y, edge_x = max(1, h // 16), max(1, w // 16)
    card[:edge_y], card[-edge_y:] = (0, 255, 0), (255, 0, 255)
    card[:, :edge_x], card[:, -edge_x:] = (255, 0, 0), (0, 255, 255)
    drawn: NDArray[np.uint8] = np.rint(card).astype(np.uint8)
    return drawn
