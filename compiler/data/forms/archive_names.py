"""Names in archives: UTF-8 where they are that, whatever the archive says; else in the encoding that is asked for."""

from __future__ import annotations

import struct
import zipfile
import zlib
from dataclasses import dataclass, field

_UTF8_FLAG = 0x800
_UNICODE_PATH = 0x7075
"""Info-ZIP's extra field with the name in UTF-8 (APPNOTE.TXT 4.6.9)."""


@dataclass
class Names:
    """Decodes the names of an archive's files, before anything in them is taken for the mark of a folder."""

    encoding: str | None
    """Of names that are not UTF-8; None: unknown."""
    odd: list[str] = field(default_factory=list[str])
    """Names of which nothing says what they are, as they were read."""

    def of_zip(self, info: zipfile.ZipInfo) -> str:
        """Return the name of a file in a `.zip`.

        macOS' own zip and many others write UTF-8 and leave out the flag that says so, Windows' its code page.
        """
        if info.flag_bits & _UTF8_FLAG:
            return info.filename
        try:
            raw = info.orig_filename.encode("cp437")  # as zipfile read it
        except UnicodeEncodeError:
            return info.filename  # by a newer zipfile from the extra field
        return _in_extra(info.extra, raw) or self._decode(raw)

    def of_tar(self, name: str) -> str:
        """Return the name of a file in a `.tar`, where bytes that are not UTF-8 came as surrogates."""
        raw = name.encode("utf-8", "surrogateescape")
        return self._decode(raw)

    def _decode(self, raw: bytes) -> str:
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            pass
        if self.encoding is not None:
            return raw.decode(self.encoding, "replace")
        name = raw.decode("cp437")  # which has a visible character for every byte
        self.odd.append(name)
        return name


def _in_extra(extra: bytes, raw: bytes) -> str | None:
    """Return the name in Unicode that an archive keeps beside the plain one, if it still belongs to that."""
    at = 0
    while at + 4 <= len(extra):
        kind, size = struct.unpack_from("<HH", extra, at)
        value = extra[at + 4 : at + 4 + size]
        if kind == _UNICODE_PATH and len(value) > 5 and struct.unpack_from("<I", value, 1)[0] == zlib.crc32(raw):
            return value[5:].decode("utf-8", "replace")
        at += 4 + size
    return None
