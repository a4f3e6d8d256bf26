"""What the standard library raises for a damaged ZIP: whichever error its code happens to hit."""

from __future__ import annotations

import lzma
import struct
import zipfile
import zlib

ZIP_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    OSError,
    NotImplementedError,  # a compression or a version that it does not know
    ValueError,  # names that are no text, numbers that make no sense
    IndexError,
    OverflowError,
)
"""A RuntimeError, which is none of these, says that a member is locked with a password."""
