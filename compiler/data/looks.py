"""Looks: what devices' own cameras, phones and messengers make of a picture.

A view in a look is featurized and kept in the cache like any image. Nothing in it is by chance.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter

from tlc_edge.runtime.bundle.manifest import Preprocessing

from .views import View, as_the_device

_VERSION = 1  # rises when the same look would give other pixels
_FRAME = 240  # pixels of the longer side, a small camera's
_LARGEST = 640
_QUALITY = 60
_BLUR = 0.005  # of the longer side
_LIGHT = 0.7


def _small(image: Image.Image, _least: int) -> Image.Image:
    return _jpeg(_to_side(image, _FRAME))


def _compressed(image: Image.Image, least: int) -> Image.Image:
    return _jpeg(_to_side(image, min(max(*image.size, least), _LARGEST)))


def _blurred(image: Image.Image, _least: int) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(_BLUR * max(image.size)))


def _darker(image: Image.Image, _least: int) -> Image.Image:
    return ImageEnhance.Brightness(image).enhance(_LIGHT)


_CHANGES: dict[str, Callable[[Image.Image, int], Image.Image]] = {
    "small": _small,
    "compressed": _compressed,
    "blurred": _blurred,
    "darker": _darker,
}


def _look(name: str, image: Image.Image, spec: Preprocessing) -> NDArray[np.uint8]:
    return as_the_device(_CHANGES[name](image, max(spec.width, spec.height)), spec)


LOOKS: dict[str, View] = {name: View(f"look {_VERSION} {name}", partial(_look, name)) for name in _CHANGES}
"""`small`: a frame of 240 pixels, JPEG at quality 60; `compressed`: JPEG at quality 60 in its own size, at most 640
pixels; `blurred`: by 0.5 % of the longer side; `darker`: at 70 % of the light."""


def _to_side(image: Image.Image, side: int) -> Image.Image:
    """Return an image with a longer side of so many pixels."""
    factor = side / max(image.size)
    width, height = (max(1, round(length * factor)) for length in image.size)
    return image if (width, height) == image.size else image.resize((width, height), Image.Resampling.BICUBIC)


def _jpeg(image: Image.Image) -> Image.Image:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=_QUALITY)
    out.seek(0)
    with Image.open(out) as again:
        return again.convert(image.mode)
