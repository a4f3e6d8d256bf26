"""Where a gallery lies."""

from __future__ import annotations

from pathlib import Path

SUFFIX = ".gallery"


def default_gallery(bundle: Path) -> Path:
    """Return where a bundle's gallery lies unless told otherwise: beside it, under its name and `.gallery`."""
    named = bundle if bundle.name not in ("", "..") else bundle.resolve()  # `.` has no name to put it beside
    return named.parent / f"{named.name}{SUFFIX}"
