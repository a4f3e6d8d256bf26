"""Where downloads and unpacked archives are kept while a data set is used, or longer."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

from tlc_edge.compiler.cache.folder import data_folder, find_cache_folder
from tlc_edge.runtime.errors import DataError
from tlc_edge.runtime.files import is_own


def made_folder(cache: str | None, kind: str) -> Path:
    """Return where downloads and unpacked archives go; without a cache, a folder that goes when Python ends.

    Raises:
        DataError: what lies there may be somebody else's.
    """
    found = find_cache_folder(cache)
    if found is None:
        found = Path(tempfile.mkdtemp(prefix="tlc-"))
        atexit.register(shutil.rmtree, found, ignore_errors=True)
    folder = data_folder(found, kind)
    if os.path.lexists(folder) and not is_own(folder):
        raise DataError(
            f"{folder} is another user's, a link, or open for others to write, so what lies there may be anyone's; "
            "choose another --cache, or off"
        )
    return folder
