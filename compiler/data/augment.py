"""Augment: copies of training images as the device might have seen them, made between decoding and resizing.

A copy is a `View` with an id of its own, so it is featurized once and kept in the cache like any image. What
chance decides about a copy hangs on the seed and the image's own bytes, so every build makes the same ones.
Pillow does the work. Validation and test images are never touched.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps

from tlc_edge.runtime.bundle.manifest import Preprocessing
from tlc_edge.runtime.images.load import resize

from .views import View

_VERSION = 2  # rises when the same id would give other pixels
_DEGREES = 15.0
_LEAST_SIDE = 0.75  # of the image's, after a crop
_LIGHT = 0.3  # brightness, contrast and colour change by up to this share
# What other clients' libraries do. Pillow's own, bilinear with anti-aliasing, is what the plain view has.
_FILTERS = (Image.Resampling.BICUBIC, Image.Resampling.LANCZOS, None, Image.Resampling.BOX)
_ENLARGING = _FILTERS[:3]  # a box would make tiles of a small picture, which no client does


def copies(kinds: Sequence[str], count: int, seed: int) -> list[View]:
    """Return `count` views that each change an image in all of `kinds`; none where there is nothing to change."""
    if not kinds:
        return []
    made: list[View] = []
    for i in range(count):
        name = f"{','.join(kinds)} {_VERSION} {seed} {i}"
        made.append(View(name, partial(_copy, name, tuple(kinds))))
    return made


def _copy(name: str, kinds: tuple[str, ...], image: Image.Image, spec: Preprocessing) -> NDArray[np.uint8]:
    digest = hashlib.sha256(f"{name} {image.size} {image.mode}".encode() + image.tobytes()).digest()
    chance = np.random.default_rng(list(digest))
    if "mirror" in kinds and chance.random() < 0.5:
        image = ImageOps.mirror(image)
    if "rotate" in kinds:
        image = _rotate(image, chance.uniform(-_DEGREES, _DEGREES))
    if "crop" in kinds:
        image = _crop(image, chance)
    if "colour" in kinds:
        image = _colour(image, chance)
    resample: Image.Resampling | None = Image.Resampling.BILINEAR
    if "resize-filter" in kinds:
        filters = _ENLARGING if image.width <= spec.width and image.height <= spec.height else _FILTERS
        resample = filters[chance.integers(len(filters))]
    if resample is None:
        # Bilinear between the four nearest pixels, however many are left out: phones and browsers do this.
        flat = image.transform((spec.width, spec.height), Image.Transform.EXTENT, (0, 0, *image.size), _FOUR_PIXELS)
        return resize(flat, spec, Image.Resampling.BILINEAR)
    return resize(image, spec, resample)


_FOUR_PIXELS = Image.Resampling.BILINEAR


def _rotate(image: Image.Image, degrees: float) -> Image.Image:
    """Turn about the middle; what comes in at the corners continues the edges."""
    margin = max(2, max(image.size) // 4)
    pixels = np.asarray(image)
    sides = [(margin, margin)] * 2 + [(0, 0)] * (pixels.ndim - 2)
    wide = Image.fromarray(np.pad(pixels, sides, "edge")).rotate(degrees, Image.Resampling.BILINEAR)
    return wide.crop((margin, margin, margin + image.width, margin + image.height))


def _crop(image: Image.Image, chance: np.random.Generator) -> Image.Image:
    width, height = (max(1, round(side * chance.uniform(_LEAST_SIDE, 1.0))) for side in image.size)
    left, top = chance.integers(image.width - width + 1), chance.integers(image.height - height + 1)
    return image.crop((int(left), int(top), int(left) + width, int(top) + height))


def _colour(image: Image.Image, chance: np.random.Generator) -> Image.Image:
    enhancers = (ImageEnhance.Brightness, ImageEnhance.Contrast)
    for enhancer in (*enhancers, ImageEnhance.Color) if image.mode == "RGB" else enhancers:
        image = enhancer(image).enhance(float(chance.uniform(1 - _LIGHT, 1 + _LIGHT)))
    return image
