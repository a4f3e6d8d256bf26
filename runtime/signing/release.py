"""What a bundle's signature says beside the manifest: which of several bundles is the newer one."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

from tlc_edge.runtime.errors import UsageError

MOST = 10**15
"""No serial number is higher."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_COMMENT = re.compile(r"tlc serial:(0|[1-9][0-9]{0,15})(?: name:([A-Za-z0-9][A-Za-z0-9._-]{0,63}))?")


@dataclass(frozen=True)
class Release:
    """A serial number, and the name under which it counts."""

    serial: int
    name: str = ""
    """Serial numbers are compared under one name."""

    @property
    def comment(self) -> str:
        """How the trusted comment says it."""
        return f"tlc serial:{self.serial}" + (f" name:{self.name}" if self.name else "")


@dataclass(frozen=True)
class Signed:
    """What a signature says."""

    key: str
    """The number of the key, as minisign prints it."""
    release: Release | None
    """None where the trusted comment is another one."""
    verified: bool
    """Whether a trusted key made it, which was checked; else it is what anybody may have written."""


def make_release(serial: int | None = None, name: str = "") -> Release:
    """Return what is to be signed; without a serial number it is the time, in milliseconds since 1970.

    Raises:
        UsageError: the serial number or the name is none.
    """
    serial = time.time_ns() // 10**6 if serial is None else serial
    if not 0 <= serial <= MOST:
        raise UsageError(f"--serial is {serial}, expected a whole number from 0 to {MOST}")
    if name and not _NAME.fullmatch(name):
        raise UsageError(f"--name {name!r}: expected up to 64 letters, digits, and . _ - between them")
    return Release(serial, name)


def read_release(comment: str) -> Release | None:
    """Return what a trusted comment says; None where it is not one of a bundle."""
    found = _COMMENT.fullmatch(comment)
    return Release(int(found[1]), found[2] or "") if found and int(found[1]) <= MOST else None
