"""Images in, uint8 arrays out: the one preprocessing that host and device share.

Decode, turn upright, flatten transparency and odd pixel formats, resize. Normalisation is not done
here: it lives in the model's graph.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
from collections.abc import Callable
from time import perf_counter
from typing import IO, Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from tlc_edge.runtime.bundle.manifest import Preprocessing
from tlc_edge.runtime.errors import BundleError, ImageError
from tlc_edge.runtime.files import stand_in

from .bounds import MAX_PIXELS as MAX_PIXELS
from .bounds import check_cost, check_jpeg
from .given import MAX_BYTES as MAX_BYTES
from .given import encoded_array
from .given import read_bytes as read_bytes
from .given import source_name as source_name
from .planes import looks_planar
from .plugins import open_image
from .quiet_pillow import quiet_pillow

Source = str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes] | Image.Image | NDArray[np.uint8]

T = TypeVar("T")

_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def load_image(
    source: Source, spec: Preprocessing, order: str = "RGB", name: str | None = None, memory: int = 0
) -> NDArray[np.uint8]:
    """Return any image as the model's input, uint8 [height, width, channels]; treat it as read-only.

    `source` is a path, the bytes of a file, a binary file object (read from where it stands), a PIL
    image, or a uint8 array [H, W], [H, W, 1], [H, W, 3] or [H, W, 4] (with alpha). `order="BGR"` says
    that an array's colours run the other way, as OpenCV's do. An array that already is the model's
    input is returned itself, not a copy. `name` stands for the source in errors. `memory` is what the device has for
    one image, in bytes, where that is less than the limit for all.

    Raises:
        ImageError: it is missing, not an image, damaged, too large, or an array of another kind.
        BundleError: `spec` asks for what this version does not know.
    """
    return load_timed(source, spec, order, name, memory)[0]


def load_timed(
    source: Source, spec: Preprocessing, order: str = "RGB", name: str | None = None, memory: int = 0
) -> tuple[NDArray[np.uint8], float]:
    """Do what `load_image` does; return also when (`perf_counter`) decoding was over and resizing began."""
    _check(spec)
    if order not in ("RGB", "BGR"):
        raise ValueError(f"order {order!r}, expected 'RGB' or 'BGR'")
    if isinstance(source, np.ndarray):
        start = perf_counter()
        if source.ndim < 3 and (data := encoded_array(source)) is not None:
            return _load(data, spec, name, _finish, memory)
        return _load_array(cast("NDArray[Any]", source), spec, order), start
    return _load(source, spec, name, _finish, memory)


def decode_image(source: Source, spec: Preprocessing, name: str | None = None, memory: int = 0) -> Image.Image:
    """Return any image upright, in mode L or RGB as `spec` asks, but at its own size.

    That of a JPEG may be halved until it is no less than twice the model's. What a build changes about an image
    it does here, between decoding and resizing.

    Raises:
        ImageError, BundleError: as in `load_image`.
    """
    _check(spec)
    if isinstance(source, np.ndarray):
        array = cast("NDArray[Any]", source)
        _check_array(array)
        array = _without_padding(array)
        return _flat(Image.fromarray(array[:, :, 0] if array.shape[2:] == (1,) else array), spec)
    return _load(source, spec, name, _flat, memory)[0]


def resize(image: Image.Image, spec: Preprocessing, resample: Image.Resampling) -> NDArray[np.uint8]:
    """Return an image of mode L or RGB as the model's input, resized in a way of one's own.

    The two passes are asked for one by one where the bundle says which comes first: each rounds to bytes, so the other
    order gives other pixels, and which one Pillow takes by itself changed in 12.2 and in 13.0.
    """
    size = (spec.width, spec.height)
    if spec.passes:
        is_tall = image.height > spec.height and image.height - spec.height > 2 * (image.width - spec.width)
        between = (image.width, spec.height) if is_tall else (spec.width, image.height)
        if between != size and between != image.size:
            image = image.resize(between, resample)
    return _pixels(image.resize(size, resample), spec)


def _check(spec: Preprocessing) -> None:
    known = spec.fit == "stretch" and spec.filter == "bilinear" and spec.passes in ("", "tall-vertical")
    if not known or spec.channels not in (1, 3):
        asked = f"{spec.fit}, {spec.filter}, {spec.channels} channels" + (f", passes {spec.passes}" * bool(spec.passes))
        raise BundleError(f"unknown preprocessing ({asked}); upgrade tlc or build the bundle again")


def _load(
    source: Any, spec: Preprocessing, name: str | None, finish: Callable[[Image.Image, Preprocessing], T], memory: int
) -> tuple[T, float]:
    name = source_name(source) if name is None else name
    image = source if isinstance(source, Image.Image) else read_bytes(source, name)
    with quiet_pillow():
        try:
            return _load_pillow(image, spec, finish, memory)
        except ImageError as e:
            raise ImageError(f"{name}: {e}") from None
        except Exception as e:
            # Pillow's decoders meet hostile bytes with whatever error their code happens to hit.
            other = stand_in(image[:256]) if isinstance(image, bytes) else None
            raise ImageError(f"{name}: {other or _explain(e)}") from None


def _load_array(array: NDArray[Any], spec: Preprocessing, order: str) -> NDArray[np.uint8]:
    wanted = (spec.height, spec.width, spec.channels)
    if array.dtype == np.uint8 and array.shape == wanted and (order == "RGB" or spec.channels == 1):
        return array
    _check_array(array)
    array = _without_padding(array)
    layout = array.shape[2:]
    if layout == (1,):
        array = array[:, :, 0]
    late = order == "BGR" and layout == (3,) and spec.channels == 3
    if order == "BGR" and layout in ((3,), (4,)) and not late:
        array = array[:, :, [2, 1, 0, 3][: layout[0]]]
    if array.shape == wanted or (array.shape == wanted[:2] and spec.channels == 1):
        pixels = array.reshape(wanted)
    else:
        pixels = _finish(Image.fromarray(array), spec)
    # Channels resize each on its own, so turning the few pixels that are left gives the same, sooner.
    return np.ascontiguousarray(pixels[:, :, ::-1] if late else pixels)


def _without_padding(array: NDArray[Any]) -> NDArray[Any]:
    """Return a camera's frame [H, W, 4] without its fourth byte, where that is the same everywhere: padding."""
    if array.shape[2:] == (4,) and int(array[0, 0, 3]) != 255 and bool((array[:, :, 3] == array[0, 0, 3]).all()):
        return np.ascontiguousarray(array[:, :, :3])
    return array


def _check_array(array: NDArray[Any]) -> None:
    layout = array.shape[2:]
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or layout not in ((), (1,), (3,), (4,)) or not array.size:
        raise ImageError(
            f"array of {array.dtype} {list(array.shape)}, expected uint8 [H, W], [H, W, 3] or [H, W, 4] "
            "with values from 0 to 255"
        )
    if array.ndim == 2 and looks_planar(array):
        height = array.shape[0] * 2 // 3
        raise ImageError(
            f"array of {list(array.shape)}, which looks like the YUV planes of a {array.shape[1]}x{height} frame; turn "
            "them into RGB first, with OpenCV: cv2.cvtColor(array, cv2.COLOR_YUV2RGB_I420, or _NV12)"
        )


def _load_pillow(
    source: Image.Image | bytes, spec: Preprocessing, finish: Callable[[Image.Image, Preprocessing], T], memory: int
) -> tuple[T, float]:
    if isinstance(source, Image.Image):
        source.load()
        decoded = perf_counter()
        return finish(_upright(source), spec), decoded
    with open_image(source) as image:
        if image.format in ("JPEG", "MPO"):
            check_jpeg(image, source)
            _draft(image, spec)
        elif image.format == "TIFF":
            _hush_libtiff()
        check_cost(image, source, memory)
        tiles: Any = getattr(image, "tile", [])
        deep = image.mode in ("RGB", "RGBA") and any(";16" in str(tile[3]) for tile in tiles)
        image.load()
        if deep:
            _refuse_dark_colours(image)
        decoded = perf_counter()
        # Only after load(): a PNG may say it behind its pixels.
        return finish(_upright(image), spec), decoded


@functools.cache
def _hush_libtiff() -> None:
    """Keep libtiff from printing, line after line, what Pillow raises anyway.

    It writes to the process's standard error itself. That cannot be redirected while other threads print.
    """
    import ctypes

    with contextlib.suppress(OSError, AttributeError, TypeError):  # linked in another way, or not at all
        handler = ctypes.CDLL(importlib.import_module("PIL._imaging").__file__).TIFFSetErrorHandler
        handler.argtypes, handler.restype = [ctypes.c_void_p], ctypes.c_void_p
        handler(None)


def _draft(image: Image.Image, spec: Preprocessing) -> None:
    """Let a JPEG decode at 1/2, 1/4 or 1/8, but no smaller than twice the size it is then resized to."""
    width, height = 2 * spec.width, 2 * spec.height
    if _orientation(image) >= 5:
        width, height = height, width
    image.draft(None, (width, height))


def _upright(image: Image.Image) -> Image.Image:
    if image.format == "TIFF":
        return image  # Pillow turns these itself, and older versions leave the tag in place
    turn = _UPRIGHT.get(_orientation(image))
    return image if turn is None else image.transpose(turn)


def _orientation(image: Image.Image) -> int:
    try:
        value: Any = image.getexif().get(_ORIENTATION, 1)
    except Exception:
        return 1  # a damaged tag says nothing about the pixels
    return value if isinstance(value, int) else 1


def _finish(image: Image.Image, spec: Preprocessing) -> NDArray[np.uint8]:
    """Bring an upright image of any mode to the wanted channels and size."""
    image = _flat(image, spec)
    if image.size == (spec.width, spec.height):
        return _pixels(image, spec)
    return resize(image, spec, Image.Resampling.BILINEAR)


def _flat(image: Image.Image, spec: Preprocessing) -> Image.Image:
    """Bring an upright image of any mode to L or RGB; grey is only made three equal channels after resizing."""
    if not image.width * image.height:
        raise ImageError(f"{image.width}x{image.height} pixels, so there is nothing to see")
    image = _flatten(image, spec.background)
    return image.convert("L") if spec.channels == 1 else image


def _pixels(image: Image.Image, spec: Preprocessing) -> NDArray[np.uint8]:
    if spec.channels == 3 and image.mode == "L":
        image = image.convert("RGB")  # only now: three equal channels resize like one
    return np.asarray(image).reshape(spec.height, spec.width, spec.channels)


def _flatten(image: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    """Return the image in mode L or RGB: deep pixels scaled to 8 bits, alpha laid over `background`."""
    mode = image.mode
    if mode.startswith("I;16") or mode in ("I", "F"):
        return _flatten_deep(image, background)
    keyed = mode in ("P", "L", "RGB", "1") and "transparency" in image.info
    if keyed or mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        if mode in ("RGBa", "La"):
            image = image.convert(mode.upper())  # premultiplied: the way back to RGB leads through plain alpha
        if image.mode != "RGBA":
            image = image.convert("RGBA")
        *colours, alpha = cast("tuple[tuple[int, int], ...]", image.getextrema())
        if mode == "RGBA" and alpha == (0, 0) and any(low < high for low, high in colours):
            return image.convert("RGB")  # a picture, and a fourth channel that was never filled
        under = Image.new("RGB", image.size, background)
        under.paste(image, mask=image.getchannel("A"))
        return under
    if mode in ("L", "RGB"):
        return image
    return image.convert("L" if mode == "1" else "RGB")


_BRIGHTEST = 1000.0  # of floats that run to 255: some overshoot, but none so far


def _flatten_deep(image: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    """Scale 16-bit integers by 1/256, and floats from [0, 1] where all lie there, else from [0, 255].

    Pillow itself would clip both at 255: a 16-bit photo turns white, a float one black. Older Pillow
    opens 16-bit grey as 32-bit mode I, where the values are the same.
    """
    deep = np.asarray(image)
    if image.mode == "F":
        # Not nan_to_num: it looks up the type's limits, about which numpy warns once an engine has switched subnormal
        # numbers off, as tflite-runtime does on ARM.
        values = np.select([np.isnan(deep), np.isposinf(deep), np.isneginf(deep)], [0.0, 255.0, 0.0], deep)
        low, high = float(values.min()), float(values.max())
        if low < -0.25 * max(high, 0.0) or high > _BRIGHTEST:
            raise ImageError(f"floats from {low:g} to {high:g}, expected 0 to 1 or 0 to 255; scale them")
        scale = 255.0 if values.max() <= 1.0 and values.min() >= 0.0 else 1.0
        grey = np.rint(np.clip(values * scale, 0, 255)).astype(np.uint8)
    else:
        grey = (np.clip(deep, 0, 65535) >> _shift(int(deep.max()))).astype(np.uint8)
    key: Any = image.info.get("transparency")
    if not isinstance(key, int):
        return Image.fromarray(grey)
    colours = np.where((deep == key)[:, :, None], np.array(background, np.uint8), grey[:, :, None])
    return Image.fromarray(colours)


def _shift(most: int) -> int:
    """Return by how many bits to shift: sensors of 8, 10 and 12 bits are kept in 16 as they are, and would be black."""
    return next((bits - 8 for bits in (8, 10, 12) if 0 < most < 1 << bits), 8)


def _refuse_dark_colours(image: Image.Image) -> None:
    """Refuse 16-bit colours that use 12 bits at most: Pillow keeps the upper eight, in which nothing is left."""
    most = max(high for _, high in cast("tuple[tuple[int, int], ...]", image.getextrema())[:3])
    if 0 < most < 16:
        raise ImageError("16-bit colours of 12 bits at most, so nearly black; scale them to 16, or save 8")


def _explain(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not an image in a format known here; convert it to JPEG or PNG"
    if isinstance(error, Image.DecompressionBombError):
        return f"far more pixels than the limit of {MAX_PIXELS}"
    if isinstance(error, MemoryError):
        return "too large for this machine's memory"
    return f"damaged or incomplete ({error or type(error).__name__}); replace the file"
