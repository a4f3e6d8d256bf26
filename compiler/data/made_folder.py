"""Where downloads and unpacked archives are kept while a data set is used, or longer."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from pathlib import Path

from tlc_edge.compiler.cache.folder import data_folder, find_cache_folder


def made_folder(cache: str | None, kind: str) -> Path:
    """Return where downloads and unpacked archives go; without a cache, a folder that goes when Python ends."""
    found = find_cache_folder(cache)
    if found is None:
        found = Path(tempfile.mkdtemp(prefix="tlc-"))
        atexit.register(shutil.rmtree, found, ignore_errors=True)
    return data_folder(found, kind)
