"""What a network was trained on: how pixels from 0 to 255 become its first layer's input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.options import PIXEL_RANGES
from tlc_edge.compiler.records import InputSpec
from tlc_edge.runtime.errors import BuildError


@dataclass(frozen=True)
class Pixels:
    """Channel c of the network's input is `pixel * scale[c] + offset[c]`; one number stands for all channels."""

    scale: tuple[float, ...]
    offset: tuple[float, ...]
    bgr: bool = False
    """The network wants blue first."""

    def then(self, scale: NDArray[Any], offset: NDArray[Any]) -> Pixels:
        """Return this map followed by another, `y * scale + offset`, each of one number or one per channel."""
        first, second = np.asarray(self.scale), np.asarray(scale, np.float64).reshape(-1)
        bias = np.asarray(self.offset) * second + np.asarray(offset, np.float64).reshape(-1)
        return Pixels(tuple((first * second).tolist()), tuple(bias.tolist()), self.bgr)


_MEANINGS = (
    Pixels((1 / 127.5,), (-1.0,)),
    Pixels((1 / 255,), (0.0,)),
    Pixels((1.0,), (0.0,)),
    # ImageNet's mean and deviation of each channel, as torchvision and Keras' `torch` mode have them.
    Pixels((1 / (255 * 0.229), 1 / (255 * 0.224), 1 / (255 * 0.225)), (-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225)),
    # Blue first, ImageNet's mean taken off, as Caffe's networks and Keras' `caffe` mode have it.
    Pixels((1.0,), (-103.939, -116.779, -123.68), bgr=True),
    # The mean and deviation of the images that CLIP was trained on, as OpenCLIP and timm have them.
    Pixels(
        tuple(1 / (255 * s) for s in (0.26862954, 0.26130258, 0.27577711)),
        tuple(
            -m / s
            for m, s in zip((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711), strict=True)
        ),
    ),
)
PIXELS = dict(zip(PIXEL_RANGES, _MEANINGS, strict=True))
"""What `--pixels` can be."""


def check_channels(name: str, pixels: str, channels: int) -> None:
    """Check that what a network was trained on has numbers for as many channels as it takes.

    Raises:
        BuildError: it has not.
    """
    if not fits_channels(pixels, channels):
        rest = ", ".join(p for p in PIXELS if fits_channels(p, channels))
        raise BuildError(
            f"--pixels {pixels}: that has a mean for each of three channels, and {name} takes one; choose {rest}"
        )


def fits_channels(pixels: str, channels: int) -> bool:
    """Return whether one of PIXELS can be what a network of so many channels takes."""
    return channels == 3 or len(PIXELS[pixels].offset) == 1


def input_spec(pixels: Pixels, height: int, width: int, channels: int) -> tuple[InputSpec, Pixels | None]:
    """Return the scalar normalisation of the input, and what a layer in the graph has to add to it.

    One scale and offset for all channels need no layer: the int8 input carries them. Otherwise the input
    is normalised the usual way, and the layer does the rest exactly.
    """
    if channels == 1 and pixels.bgr:
        pixels = Pixels(pixels.scale, pixels.offset)
    # A scale below zero cannot be that of an int8 input.
    if not pixels.bgr and len(set(pixels.scale)) == 1 and len(set(pixels.offset)) == 1 and pixels.scale[0] > 0:
        scale, offset = pixels.scale[0], pixels.offset[0]
        # `0.0 -` and not `-`: an offset of zero must not become a mean of minus zero.
        return InputSpec(height, width, channels, mean=0.0 - offset / scale, std=1 / scale), None
    spec = InputSpec(height, width, channels)
    # pixel = x * std + mean
    scale_, offset_ = np.asarray(pixels.scale), np.asarray(pixels.offset)
    bias = spec.mean * scale_ + offset_
    return spec, Pixels(tuple((spec.std * scale_).tolist()), tuple(bias.tolist()), pixels.bgr)
