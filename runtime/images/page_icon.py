"""What page/icon.svg shows, drawn as phones want it for a page on their home screen."""

from __future__ import annotations

import io

from PIL import Image, ImageDraw


def page_icon(size: int) -> bytes:
    """Return a PNG of `size` by `size` pixels."""
    scale = 4 * size / 64
    image = Image.new("RGB", (4 * size, 4 * size), "#0b6b57")
    pen = ImageDraw.Draw(image)
    for radius, width in ((17.5, 5.0), (5.0, 5.0)):
        box = [(32 - radius) * scale] * 2 + [(32 + radius) * scale] * 2
        pen.ellipse(box, outline="white", width=round(width * scale))
    out = io.BytesIO()
    image.resize((size, size), Image.Resampling.LANCZOS).quantize(16).save(out, "PNG", optimize=True)
    return out.getvalue()
