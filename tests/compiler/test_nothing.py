"""Images with nothing on them are skipped, by name; those with little on them are not."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from tlc_edge.runtime.bundle.manifest import Preprocessing
from tlc_edge.runtime.errors import ImageError
from tlc_edge.runtime.images.load import load_image
from tlc_edge.runtime.images.nothing import is_one_colour, thumbnail


def small(image: Image.Image) -> np.ndarray:  # type: ignore[type-arg]
    return thumbnail(load_image(image, Preprocessing(224, 224)))


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (64, 48), (500, 300)])
@pytest.mark.parametrize("colour", ["black", "white", (13, 200, 90)])
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_one_colour(size: tuple[int, int], colour: str, mode: str) -> None:
    assert is_one_colour(small(Image.new("RGB", size, colour).convert(mode)))


def test_recompressed_it_is_still_one_colour() -> None:
    out = io.BytesIO()
    Image.new("RGB", (300, 200), (190, 30, 60)).save(out, "JPEG", quality=40)
    assert is_one_colour(small(Image.open(out)))


@pytest.mark.parametrize(("box", "by"), [((100, 100, 108, 108), 90), ((0, 0, 112, 224), 4)])
def test_little_is_not_nothing(box: tuple[int, int, int, int], by: int) -> None:
    image = Image.new("RGB", (224, 224), (120, 120, 120))
    image.paste((120, 120, 120 + by), box)
    assert not is_one_colour(small(image))


def tiff(subfile: int | None, dng: bool = False) -> bytes:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    if subfile is not None:
        tags[254] = subfile
    if dng:
        tags[50706] = b"\x01\x04\0\0"
        tags.tagtype[50706] = 1
    out = io.BytesIO()
    Image.effect_noise((32, 32), 50).save(out, "TIFF", tiffinfo=tags)
    return out.getvalue()


@pytest.mark.parametrize(
    ("content", "raw"),
    [
        (tiff(1), True),
        (tiff(None, dng=True), True),
        (tiff(None), False),
        (tiff(2), False),
        (b"II*\0damaged", False),
        (b"FUJIFILMCCD-RAW 0201", True),
        (b"IIRO\x08\0\0\0", True),
        (b"IIU\0\x18\0\0\0", True),
    ],
)
def test_raw_files_of_cameras_are_told_from_pictures(content: bytes, raw: bool) -> None:
    try:
        load_image(content, Preprocessing(32, 32))
        said = ""
    except ImageError as e:
        said = str(e)
    assert ("a camera's raw file" in said) == raw
