"""The bytes of whatever people give as an image: files, open files and uploads, base64, and what is none of these."""

from __future__ import annotations

import base64
import binascii
import inspect
import os
import re
import stat
from pathlib import Path
from typing import Any, cast

import numpy as np
from PIL import Image

from tlc_edge.runtime.errors import ImageError

MAX_BYTES = 1 << 29
"""Files and streams above this are refused; no image that may be decoded needs more."""

_LONGEST = 200  # characters of a name in a message
# Not compiled here, which takes longer than reading a photo: a path that is one needs none of them.
_ADDRESS = r"(?i)([a-z][a-z0-9+.-]*)://(?:[^/?#]*@)?([^/?#]*)"
_DATA = rb"(?i)\s*data:[^,]{0,200},"
# How JPEG, PNG, GIF, WebP, TIFF and HEIF begin in base64.
_BASE64 = rb"\s*(/9j/|iVBORw0KGgo|R0lGOD|UklGR|SUkqA|TU0AK|AAAA[A-Z][A-Za-z0-9+/]{1,2}Z0eX)"
_BEGINS = (b"/9j/", b"iVBORw0KGgo", b"R0lGOD", b"UklGR", b"SUkqA", b"TU0AK", b"AAAA")
_MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"RIFF", b"BM")


def source_name(source: Any) -> str:
    """Return a short name of a source for messages, without what may be secret in an address."""
    if isinstance(source, str | os.PathLike):
        # A name that is not valid UTF-8 must not make the message unprintable.
        name = os.fspath(cast("str", source)).encode("utf-8", "backslashreplace").decode()
        if (inline := _inline(name[:300])) is not None:
            return f"{inline} of {len(name)} characters"
        if "://" in name and (address := re.match(_ADDRESS, name)) is not None:
            return f"{address[1]}://{address[2]}"[:_LONGEST]
        return name if len(name) <= _LONGEST else f"{name[:_LONGEST]}… ({len(name)} characters)"
    own: Any = getattr(source, "filename", None) or getattr(source, "name", None)
    if isinstance(source, bytes | bytearray | memoryview):
        return own if isinstance(own, str) else f"image of {len(source)} bytes"
    if isinstance(source, np.ndarray):
        return f"array {source.dtype} {list(source.shape)}"
    if isinstance(source, Image.Image):
        return str(getattr(source, "filename", "")) or f"{source.mode} image {source.width}x{source.height}"
    return own[:_LONGEST] if isinstance(own, str) else "image stream"


def read_bytes(source: Any, name: str) -> bytes:
    """Return all bytes of a path, a buffer, a binary file object or an upload; `name` stands for it in errors.

    Text or bytes that are an image in base64, alone or as a `data:` address, are decoded.

    Raises:
        ImageError: it is missing, a folder, empty, too large, or cannot be read.
    """
    try:
        if isinstance(source, str | os.PathLike):
            data = _read_text(os.fspath(cast("str", source)), name)
        elif isinstance(source, bytes | bytearray | memoryview):
            data = _decoded(bytes(source), name)
        elif hasattr(source, "read"):
            data = _read_open(source, name)
        else:
            kind = type(source).__name__
            raise ImageError(f"{kind} is not an image; give a path, bytes, a file, a PIL image or a uint8 array")
    except FileNotFoundError:
        raise ImageError(f"{name}: no such file") from None
    except IsADirectoryError:
        raise ImageError(f"{name}: a folder, expected an image file") from None
    except (OSError, ValueError) as e:
        raise ImageError(f"{name}: cannot be read ({getattr(e, 'strerror', None) or e})") from None
    if not data:
        raise ImageError(f"{name}: empty (0 bytes), expected an image")
    return data


def encoded_array(array: Any) -> bytes | None:
    """Return the bytes of an image file that an array holds one after the other, as OpenCV's `imencode` gives them."""
    if array.dtype != np.uint8 or array.size < 12 or array.size != max(array.shape, default=0):
        return None
    data = array.tobytes()
    return data if data.startswith(_MAGIC) else None


def _inline(text: str) -> str | None:
    data = text.encode("utf-8", "replace")
    if _data_address(data) is not None:
        return "data: address"
    return "base64 text" if len(text) >= 300 and _is_base64(data) else None


def _data_address(data: bytes) -> re.Match[bytes] | None:
    return re.match(_DATA, data) if data.lstrip()[:5].lower() == b"data:" else None


def _is_base64(data: bytes) -> bool:
    return data.lstrip().startswith(_BEGINS) and re.match(_BASE64, data) is not None


def _read_text(text: str | bytes, name: str) -> bytes:
    if isinstance(text, str):
        if _inline(text[:300]) is not None and (text.lstrip()[:5].lower() == "data:" or not os.path.exists(text)):  # noqa: PTH110
            return _decoded(text.encode("ascii", "replace"), name)
        if "://" in text and re.match(_ADDRESS, text) is not None and not os.path.exists(text):  # noqa: PTH110 - it may be too long for Path
            raise ImageError(f"{name}: an address, expected a file or its bytes; fetch it first")
    # Reading at once also closes at once: Pillow keeps files open as long as it might need them.
    with Path(cast("str", text)).open("rb") as file:
        size = os.fstat(file.fileno())
        if stat.S_ISREG(size.st_mode) and size.st_size > MAX_BYTES:
            raise ImageError(f"{name}: {size.st_size} bytes, more than the limit of {MAX_BYTES}")
        return file.read() if stat.S_ISREG(size.st_mode) else _read_stream(file, name)


def _decoded(data: bytes, name: str) -> bytes:
    """Return the bytes that base64 stands for, or others as they are."""
    start = _data_address(data[:300])
    if start is None and not _is_base64(data[:32]):
        return data
    if start is not None and b"base64" not in start[0].lower():
        raise ImageError(f"{name}: without `;base64`, so what follows is text and no image")
    try:
        text = data[start.end() if start is not None else 0 :]
        return base64.b64decode(b"".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as e:
        if start is None:
            return data  # it only began like base64
        raise ImageError(f"{name}: damaged base64 ({e}); send it again") from None


def _read_open(source: Any, name: str) -> bytes:
    # An upload of Starlette or FastAPI reads asynchronously; the file inside it does not.
    if inspect.iscoroutinefunction(source.read) and hasattr(getattr(source, "file", None), "read"):
        source = source.file
    data = _read_stream(source, name)
    if data:
        return data
    try:
        read_before = source.tell() > 0
    except (AttributeError, OSError, ValueError):
        read_before = False  # a pipe has no place to be at
    if read_before:
        raise ImageError(f"{name}: was read to its end before, so nothing is left to read; `seek(0)` first")
    return data


def _read_stream(file: Any, name: str) -> bytes:
    """Read a stream to its end in pieces: its length is unknown and need not have an end."""
    pieces: list[bytes] = []
    size = 0
    while piece := file.read(1 << 20):
        if inspect.isawaitable(piece):
            if inspect.iscoroutine(piece):
                piece.close()  # else Python warns that it was never awaited
            raise ImageError(f"{name}: reads asynchronously; give the bytes, of `await file.read()`")
        if not isinstance(piece, bytes):
            raise ImageError(f"{name}: opened as text, expected a binary file; open it with mode 'rb'")
        pieces.append(piece)
        size += len(piece)
        if size > MAX_BYTES:
            raise ImageError(f"{name}: more than the limit of {MAX_BYTES} bytes")
    return b"".join(pieces)
