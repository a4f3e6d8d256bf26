"""Weights are pinned: a file is used only if its SHA-256 is the one this version was made for."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlc.runtime.errors import BuildError


def pinned(path: Path, sha256: str) -> None:
    """Check a weights file against its pinned hash.

    Raises:
        BuildError: the file cannot be read, or is another one.
    """
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as e:
        raise BuildError(f"{path}: cannot be read ({e.strerror or e})") from None
    if found != sha256:
        raise BuildError(
            f"{path}: SHA-256 is {found[:12]}…, expected {sha256[:12]}…; it was changed: install its package again"
        )


def arrays_sha256(arrays: Iterable[NDArray[Any]]) -> str:
    """Hash arrays in order: shapes, dtypes and bytes."""
    digest = hashlib.sha256()
    for a in arrays:
        digest.update(f"{a.dtype.str}{a.shape}".encode())
        digest.update(np.ascontiguousarray(a).tobytes())
    return digest.hexdigest()
