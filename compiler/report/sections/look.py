"""Images to look at, as small pictures of the user's own."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tlc_edge.compiler.report.evidence import ODD_THUMBNAILS, Pictures
from tlc_edge.compiler.report.findings import AnsweredImage, Findings, OddImage
from tlc_edge.compiler.report.section import Section
from tlc_edge.compiler.study.odd_labels import AGREEING, NEIGHBOURS

THUMBNAILS = 24
"""Held-out images in a page, at most."""
_SIDE = 128


@dataclass(frozen=True)
class Card:
    """An image with its address, where it may be shown."""

    image: AnsweredImage | OddImage
    source: str | None


def section(f: Findings, pictures: Pictures | None) -> Section:
    """Return the wrong answers, or the least sure right ones, and the odd training images."""
    chosen = f.wrong[:THUMBNAILS] if f.wrong else f.unsure
    return Section(
        "look",
        "Images to look at",
        __file__,
        {
            "wrong": f.first.accuracy.total - f.first.accuracy.right,
            "cards": [Card(m, None if pictures is None else data_uri(pictures.held_out[m.index])) for m in chosen],
            "odd": [
                Card(o, None if pictures is None else data_uri(pictures.odd[i]))
                for i, o in enumerate(f.odd[:ODD_THUMBNAILS])
            ],
            "all_odd": len(f.study.odd),
            "neighbours": NEIGHBOURS,
            "agreeing": AGREEING,
        },
    )


def data_uri(image: NDArray[np.uint8]) -> str:
    """Return an image [H, W, C] as a small JPEG in a `data:` address."""
    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    picture.thumbnail((_SIDE, _SIDE))
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()
