"""Where what can be made again is kept: features, downloads, unpacked archives."""

from __future__ import annotations

import os
from pathlib import Path


def find_cache_folder(cache: str | None) -> Path | None:
    """Return the folder that an option names; None for `off`, or where there is no home to keep it in.

    Without the option the environment decides: `TLC_CACHE` (a folder, or `off`), else `tlc` in
    `XDG_CACHE_HOME`, else `~/.cache/tlc`.
    """
    named = cache or os.environ.get("TLC_CACHE") or ""
    if named == "off":
        return None
    try:
        return Path(named or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "tlc")).expanduser()
    except RuntimeError:
        return None
