"""Keep a folder of the cache bounded: what was used longest ago goes, and what killed builds left."""

from __future__ import annotations

import contextlib
import shutil
import time
from pathlib import Path

KEPT_BYTES = 10 << 30
"""Downloads, and unpacked archives, kept for the next build; beyond, those used longest ago go, but none used within
a day."""
SCRATCH = "part-"
"""How the names of scratch folders begin."""
_DAY = 24 * 3600.0
_LEFT = (SCRATCH, "tmp")  # the second is how pooch names what it has not yet checked


def make_room(folder: Path) -> None:
    """Remove what was left in a folder, and the files and folders in it that were used longest ago.

    The time that something was used is the one it was last modified at, so whoever uses it sets that.
    """
    now = time.time()
    found: list[tuple[float, int, Path]] = []
    for path in folder.iterdir():
        with contextlib.suppress(OSError):
            inside = [file.stat() for file in (path, *path.rglob("*")) if file.is_file()]
            used = path.stat().st_mtime
            if path.name.startswith(_LEFT):  # another build may be at it still
                used = max([used, *(file.st_mtime for file in inside)])
            found.append((used, sum(file.st_size for file in inside), path))
    total = sum(size for _, size, _ in found)
    for used, size, path in sorted(found):
        if now - used > _DAY and (total > KEPT_BYTES or path.name.startswith(_LEFT)):
            with contextlib.suppress(OSError):
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink()
            total -= size
