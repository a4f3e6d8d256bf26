"""What decoding an image may cost: estimated from its header, and refused before it is paid."""

from __future__ import annotations

from typing import Any

from PIL import Image

from tlc_edge.runtime.errors import ImageError

MAX_PIXELS = 89_478_485
"""As many may be decoded: where Pillow begins to warn. A large JPEG is decoded at a fraction of its size."""
MAX_MEMORY = 384 << 20
"""Bytes that one image may take while it is decoded, on any device."""

_MAX_ENCODED = 1 << 29  # pixels of a JPEG at its full size: every one costs time
_MAX_SCANS = 64  # of a progressive JPEG; programs write about ten, and each goes over all of the image
_COEFFICIENT = 2
_SOS = b"\xff\xda"  # never within a scan's own data, where 0xff is followed by 0

# Bytes per pixel of Pillow's own picture, and what some decoders keep beside it.
_PIXEL = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2}
_DECODER = {"WEBP": 12, "AVIF": 6, "HEIF": 6, "JPEG2000": 16, "TIFF": 4, "GIF": 4}


def check_cost(image: Image.Image, data: bytes, device: int = 0) -> None:
    """Refuse an image that was opened, and not loaded yet, where decoding it would take too much.

    `device` is what the bundle's target has for one image, in bytes; 0 where it does not say.

    Raises:
        ImageError: it would.
    """
    if image.width * image.height > MAX_PIXELS:
        raise ImageError(f"{image.width}x{image.height} pixels, more than the limit of {MAX_PIXELS}")
    memory = len(data) + image.width * image.height * _bytes_per_pixel(image)
    if image.format in ("JPEG", "MPO") and "progressive" in image.info:
        memory += _coefficients(image)
    limit = min(MAX_MEMORY, device or MAX_MEMORY)
    if memory > limit:
        whose = " for the device that the bundle is built for" if limit < MAX_MEMORY else ""
        raise ImageError(
            f"{image.width}x{image.height} pixels, {image.mode}, which take {memory >> 20} MB to decode, more than the "
            f"limit of {limit >> 20}{whose}; make it smaller, or a JPEG that is not progressive"
        )


def check_jpeg(image: Image.Image, data: bytes) -> None:
    """Refuse a JPEG, before it is made smaller, where going through it would take too long.

    Raises:
        ImageError: it would.
    """
    if image.width * image.height > _MAX_ENCODED:
        raise ImageError(f"{image.width}x{image.height} pixels, more than the limit of {_MAX_ENCODED} for a JPEG")
    if "progressive" in image.info and (scans := data.count(_SOS)) > _MAX_SCANS:
        raise ImageError(f"a JPEG of {scans} scans, more than the limit of {_MAX_SCANS}; save it again")
    image.info["full size"] = image.size


def _bytes_per_pixel(image: Image.Image) -> int:
    mode = image.mode
    taken = _PIXEL.get(mode, 4) + _DECODER.get(str(image.format), 0)
    if mode in ("RGBA", "RGBa"):
        return taken + 5  # what it is laid over, and the mask
    if "transparency" in image.info or mode in ("LA", "PA", "La"):
        return taken + 9
    if mode in ("I", "F") or mode.startswith("I;16"):
        return taken + 16
    if mode == "1":
        return taken + 1  # as grey
    return taken if mode in ("L", "RGB") else taken + 4


def _coefficients(image: Image.Image) -> int:
    """Return the bytes that the coefficients of a progressive JPEG take, which are kept whole whatever its scale."""
    width, height = image.info["full size"]
    layers: Any = getattr(image, "layer", [])
    try:
        shares = [(int(h), int(v)) for _, h, v, *_ in layers]
        most = max(h for h, _ in shares) * max(v for _, v in shares)
        share = sum(h * v for h, v in shares) / most
    except (TypeError, ValueError, ZeroDivisionError):
        share = 4.0
    return int(width * height * share * _COEFFICIENT)
