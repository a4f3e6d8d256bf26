"""What a bundle is called that is not given a name."""

from __future__ import annotations

from pathlib import Path

from .address import address_name
from .archive import SUFFIXES


def bundle_name(data: str) -> str:
    """Return the file name for a bundle made of a data set: that of its folder or file, without what says its kind."""
    name = address_name(data) if "://" in data else Path(data.removeprefix("sample:")).resolve().name
    kinds = [kind for kind in (*SUFFIXES, ".csv", ".npz") if name.lower().endswith(kind)]
    return f"{name[: -len(max(kinds, key=len))] if kinds else name}.tlc"
