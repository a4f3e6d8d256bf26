"""What a bundle is called that is not given a name."""

from __future__ import annotations

from pathlib import Path

from . import load
from .forms.address import address_name


def bundle_name(data: str) -> str:
    """Return the file name for a bundle made of a data set: that of its folder or file, without what says its kind."""
    name = address_name(data.rstrip("/")) if "://" in data else Path(data.removeprefix("sample:")).resolve().name
    kinds = [suffix for form in load.FORMS for suffix in form.SUFFIXES if name.lower().endswith(suffix)]
    return f"{name[: -len(max(kinds, key=len))] if kinds else name}.tlc"
