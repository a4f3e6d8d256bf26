"""How the bytes of a file become a Pillow image that is opened, and not yet decoded."""

from __future__ import annotations

import functools
import importlib
import io
from typing import Any

from PIL import Image, UnidentifiedImageError

from tlc_edge.runtime.errors import ImageError
from tlc_edge.runtime.install import pip_line

_COMMON = ("PNG", "BMP", "GIF", "PPM")  # what Pillow loads at once, with JPEG; the other plugins cost 30 ms
_REFUSED = frozenset({"EPS"})  # decoded by running Ghostscript, a program, on the file's contents
_JPEG = b"\xff\xd8\xff"
_RAW = (b"IIU\0", b"IIRO", b"IIRS", b"MMOR", b"FUJIFILMCCD-RAW", b"\0\0\0\x18ftypcrx ")
"""How the raw files of cameras begin that are no TIFF."""
_HEIF = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")

_RAW_FILE = "a camera's raw file"

# Tags of TIFF and DNG: what kind of picture it is, how its numbers are colours, DNG's version.
_SUBFILE, _PHOTOMETRIC, _DNG = 254, 262, 50706
_SENSOR = (32803, 34892)  # a colour filter's mosaic, and linear raw


def open_image(data: bytes) -> Image.Image:
    """Return the image that a file's bytes hold, its header read.

    Raises:
        ImageError: it is a picture of a kind that cannot be read right here.
        OSError, ValueError, …: whatever Pillow raises.
    """
    if data.startswith(_JPEG):
        from PIL.JpegImagePlugin import jpeg_factory

        # Not through Image.open, which looks at the full size; a JPEG is decoded at a fraction of it.
        return jpeg_factory(io.BytesIO(data))
    try:
        return Image.open(io.BytesIO(data), formats=_COMMON)
    except UnidentifiedImageError:
        if data.startswith(_RAW):
            raise ImageError(f"{_RAW_FILE}; convert it to JPEG first") from None
        Image.init()
        heif = data[4:8] == b"ftyp" and data[8:12] in _HEIF
        if heif and not _register_heif():
            raise ImageError(f"a HEIC picture, which takes pillow-heif to read; run: {pip_line('heic')}") from None
        image = Image.open(io.BytesIO(data), formats=[name for name in Image.ID if name not in _REFUSED])
    if image.format == "TIFF":
        _refuse_raw(image, data)
    return image


def load_plugins() -> None:
    """Load all that reading a picture of whatever kind may load: Pillow's plugins, and that for HEIC."""
    Image.init()
    _register_heif()


@functools.cache
def _register_heif() -> bool:
    try:
        importlib.import_module("pillow_heif").register_heif_opener()
    except Exception:
        return False  # not there, or a library of its own is not
    return True


def _refuse_raw(image: Image.Image, data: bytes) -> None:
    """Refuse camera raw files: what Pillow finds first in them is a preview, maybe of 64 pixels or black."""
    tags: Any = getattr(image, "tag_v2", {})
    reduced = tags.get(_SUBFILE, 0)
    if (
        data[8:10] == b"CR"
        or _DNG in tags
        or tags.get(_PHOTOMETRIC) in _SENSOR
        or (isinstance(reduced, int) and reduced & 1)
    ):
        raise ImageError(
            f"{_RAW_FILE}, of which only a preview of {image.width}x{image.height} could be read; "
            "convert it to JPEG first"
        )
