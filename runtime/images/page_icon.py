"""What phones want for a page on their home screen: page/icon.svg drawn, and the manifest that names it."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence

from PIL import Image, ImageDraw

_COLOUR = "#0b6b57"


def page_icon(size: int) -> bytes:
    """Return a PNG of `size` by `size` pixels."""
    scale = 4 * size / 64
    image = Image.new("RGB", (4 * size, 4 * size), _COLOUR)
    pen = ImageDraw.Draw(image)
    for radius, width in ((17.5, 5.0), (5.0, 5.0)):
        box = [(32 - radius) * scale] * 2 + [(32 + radius) * scale] * 2
        pen.ellipse(box, outline="white", width=round(width * scale))
    out = io.BytesIO()
    image.resize((size, size), Image.Resampling.LANCZOS).quantize(16).save(out, "PNG", optimize=True)
    return out.getvalue()


def app_manifest(name: str, icons: Sequence[Mapping[str, str]]) -> bytes:
    """Return the web app manifest of the page, as JSON; `icons` are as it lists them.

    Source: https://www.w3.org/TR/appmanifest/
    """
    document = {
        "name": name,
        "short_name": "tlc",
        "start_url": "./",
        "scope": "./",
        "display": "standalone",
        "background_color": "#f4f5f2",
        "theme_color": _COLOUR,
        "icons": icons,
    }
    return (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode()
