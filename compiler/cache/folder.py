"""Where what can be made again is kept: features, downloads, unpacked archives."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

from tlc_edge.runtime.errors import TlcError, UsageError

from .store import LIMIT, FeatureCache

_FEATURES = "features"
_DATA = ("downloads", "archives", "images")


@dataclass(frozen=True)
class CacheInfo:
    """What a cache holds, in bytes."""

    folder: str | None
    """None where it is off."""
    entries: int = 0
    """Features of images, once for each trunk, and lowered trunks."""
    features: int = 0
    limit: int = 0
    """Of the features; beyond, those used longest ago go."""
    data: int = 0
    """Downloads and unpacked archives."""


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


def data_folder(root: Path, kind: str) -> Path:
    """Return where `downloads`, `archives` or `images` go below a cache's folder."""
    return root / _DATA[_DATA.index(kind)]


@contextlib.contextmanager
def caching(cache: str | None, *, make: bool = True) -> Generator[FeatureCache | None]:
    """Open the feature cache that an option names (see `find_cache_folder`) for a block; None where it is off.

    None too where it is not there yet and not to `make`.

    Raises:
        UsageError: `TLC_CACHE_MB` is not a number.
    """
    root = find_cache_folder(cache)
    if root is None or not (make or root.is_dir()):
        yield None
        return
    with FeatureCache(root / _FEATURES, _limit()) as opened:
        yield opened


def look_at_cache(cache: str | None) -> CacheInfo:
    """Return what the cache holds that an option names; one that is not there holds nothing.

    Raises:
        TlcError: its features cannot be read.
    """
    root = find_cache_folder(cache)
    if root is None:
        return CacheInfo(None)
    limit = _limit()
    data = sum(_size(root / kind) for kind in _DATA)
    if not (root / _FEATURES).is_dir():
        return CacheInfo(str(root), limit=limit, data=data)
    with FeatureCache(root / _FEATURES, limit) as opened:
        entries, features = opened.count()
        if opened.problem:
            raise TlcError(f"{opened.problem}; empty it with: tlc cache clear --yes")
        return CacheInfo(str(root), entries, features, limit, data)


def cache_size(cache: str | None) -> tuple[str, int]:
    """Return the folder that an option names and the bytes of what `clear_cache` would remove there; damaged or not."""
    root = find_cache_folder(cache)
    return str(root or ""), sum(_size(root / kind) for kind in (_FEATURES, *_DATA)) if root else 0


def clear_cache(cache: str | None) -> int:
    """Remove what the cache holds that an option names, and nothing else in its folder; return the bytes freed.

    Raises:
        TlcError: something cannot be removed.
    """
    root = find_cache_folder(cache)
    freed = 0
    for path in [root / kind for kind in (_FEATURES, *_DATA)] if root else []:
        freed += _size(path)
        try:
            shutil.rmtree(path)
        except FileNotFoundError:
            continue
        except OSError as e:
            raise TlcError(f"{e.filename or path}: cannot be removed ({e.strerror}); check who owns it") from None
    return freed


def _limit() -> int:
    text = os.environ.get("TLC_CACHE_MB", "")
    if not text:
        return LIMIT
    if not (text.isascii() and text.isdigit() and int(text)):
        raise UsageError(f"TLC_CACHE_MB is {text!r}, expected a whole number of megabytes above 0")
    return int(text) * 1_000_000


def _size(folder: Path) -> int:
    total = 0
    for file in folder.rglob("*"):
        with contextlib.suppress(OSError):  # gone meanwhile
            total += file.stat().st_size if file.is_file() else 0
    return total
