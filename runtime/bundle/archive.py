"""A `.tlc` file to the byte: a ZIP of stored entries, sorted, with a fixed date and nothing more.

There is one way to write it, so that equal contents give equal files, with every version of Python, and any byte of a
signed file that is another one is noticed, whichever field of the ZIP it is in.
Source: APPNOTE.TXT 6.3.10, 4.3.7, 4.3.12 and 4.3.16.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping

_VERSION, _UNIX, _UTF8 = 20, 3, 0x800
_DATE = (1980 - 1980) << 9 | 1 << 5 | 1
_MODE = 0o644 << 16
_MOST = 0xFFFFFFFF - 1
_MOST_FILES = 0xFFFF - 1


def archive_parts(contents: Mapping[str, bytes]) -> Iterator[bytes]:
    """Yield the bytes of a `.tlc` file, piece by piece.

    Raises:
        ValueError: it would be 4 GiB or more, or has a name that is no text.
    """
    directory: list[bytes] = []
    at = 0
    for name in sorted(contents):
        data = contents[name]
        flags, text = (0, name.encode()) if name.isascii() else (_UTF8, name.encode())
        shared = struct.pack(
            "<HHHHHIIIHH", _VERSION, flags, 0, 0, _DATE, zlib.crc32(data), len(data), len(data), len(text), 0
        )
        directory.append(
            struct.pack("<4sBB", b"PK\1\2", _VERSION, _UNIX) + shared + struct.pack("<HHHII", 0, 0, 0, _MODE, at) + text
        )
        head = b"PK\3\4" + shared + text
        at += len(head) + len(data)
        if at > _MOST or len(directory) > _MOST_FILES:
            raise ValueError("a bundle of 4 GiB or more")
        yield head
        yield data
    listing = b"".join(directory)
    yield listing
    yield struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, len(directory), len(directory), len(listing), at, 0)


def is_archive_of(contents: Mapping[str, bytes], data: bytes) -> bool:
    """Return whether a file holds these contents, written as they are always written."""
    at = 0
    for part in archive_parts(contents):
        if not data.startswith(part, at):
            return False
        at += len(part)
    return at == len(data)
