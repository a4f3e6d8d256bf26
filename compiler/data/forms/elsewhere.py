"""Files that are not on this machine: listed and read through fsspec, as https://filesystem-spec.readthedocs.io has it.

Credentials come from the environment alone, as the libraries of each store read them: an address that carries some
is refused, since it would end up in plans and messages.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import importlib.util
import inspect
import os
import re
import secrets
import shutil
import tempfile
import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from tlc_edge.runtime.errors import DataError, UsageError, first_line
from tlc_edge.runtime.images.walk import is_junk
from tlc_edge.runtime.install import pip_line

from .address import told

_REFUSED = (
    "NoCredentials",
    "PartialCredentials",
    "AccessDenied",
    "Forbidden",
    "Permission",
    "Unauthorized",
    "InvalidAccessKey",
)
_lock = threading.Lock()
_fetched = [0]
_ETAGS = ("ETag", "etag", "mtime", "updated", "Last-Modified")
_AT_ONCE = 16  # requests
_DEEPEST = 32  # folders in each other
_MISSING = ("NoSuchBucket", "NoSuchKey", "NotFound")


@dataclass(frozen=True)
class Listed:
    """A file below an address."""

    path: str
    """Below that address, with `/`."""
    url: str
    size: int
    etag: str
    """What the store says changes with the content; empty where it says nothing."""


def is_elsewhere(name: str) -> bool:
    """Return whether a name is that of a place which fsspec reaches, and no path."""
    return "://" in name


@contextlib.contextmanager
def reaching(url: str) -> Generator[None]:
    """Turn what a store's library raises into one sentence.

    Raises:
        DataError: something was.
    """
    try:
        yield
    except DataError:
        raise
    except Exception as e:
        text = f"{type(e).__name__} {e}"
        if any(word in text for word in _REFUSED):
            raise DataError(
                f"{told(url)}: access was refused ({first_line(e)[:160]}); credentials are taken from the environment"
            ) from None
        if isinstance(e, FileNotFoundError) or any(word in text for word in _MISSING):
            raise DataError(f"{told(url)}: no such bucket, folder or file; check the address") from None
        raise DataError(
            f"{told(url)}: cannot be reached ({first_line(e)[:160]}); check the address and the network"
        ) from None


def open_system(url: str) -> tuple[Any, str]:
    """Return the file system of an address and the path in it.

    Raises:
        UsageError: it carries a user, a password or a query, or is several that are chained.
        DataError: a library is missing, or nothing reads addresses of this kind.
    """
    parts = urlsplit(url)
    if ("@" in parts.netloc and parts.scheme not in ("abfs", "abfss")) or parts.query:
        raise UsageError(
            f"{told(url)}: an address must not carry credentials or a query; put them into the environment"
        )
    if "::" in url:  # fsspec would read whatever the second one names
        raise UsageError(f"{told(url)}: is several addresses in one; give the one that the files are at")
    if importlib.util.find_spec("fsspec") is None:
        raise DataError(f"{told(url)}: fsspec, which reads it, is missing; run: {pip_line('cluster')}")
    import fsspec

    try:
        with reaching(url):
            found: tuple[Any, str] = fsspec.core.url_to_fs(url)
            return found
    except DataError as e:
        # abfss is known to fsspec once adlfs is there, and not before.
        if isinstance(e.__context__, ImportError) or "not known: abfss" in str(e.__context__):
            package = _package(parts.scheme)
            raise DataError(f"{told(url)}: {package}, which reads it, is missing; run: pip install {package}") from None
        raise


def _package(scheme: str) -> str:
    """Return the package that fsspec has addresses of a kind read by."""
    from fsspec.registry import known_implementations

    module = str(known_implementations.get(scheme.replace("abfss", "abfs"), {}).get("class", scheme)).partition(".")[0]
    return "aiohttp" if module == "fsspec" else module  # its own need nothing, but for that of the web


def list_below(url: str) -> list[Listed]:
    """Return the files at an address and below, in order, without what systems leave behind.

    Raises:
        DataError: there is none, or it cannot be listed.
    """
    system, root = open_system(url)
    with reaching(url):
        system.invalidate_cache()  # what was listed a minute ago may have changed
        found = _find_on_web(system, root) if is_web(url) else system.find(root, detail=True)
        if not found:
            if not system.exists(root):
                raise FileNotFoundError
            raise DataError(f"{told(url)}: no files in it")
    base = root.rstrip("/")
    listed: dict[str, Listed] = {}
    for path, info in found.items():
        below = path.removeprefix(base).lstrip("/") or path.rpartition("/")[2]
        parts = [unquote(part) if is_web(url) else part for part in below.split("/")]
        place = "/".join(part for part in parts if part)  # as a disk has it
        if not below.endswith("/") and ".." not in place.split("/") and not is_junk(parts):
            etag = str(next((info[name] for name in _ETAGS if info.get(name)), "")).strip('"')
            if place in listed:
                raise DataError(
                    f"{told(url)}: has {place[:200]} twice, under names that a disk takes for one; rename one"
                )
            listed[place] = Listed(place, system.unstrip_protocol(path), int(info.get("size") or 0), etag)
    return sorted(listed.values(), key=lambda file: file.path)


def read_file(system: Any, path: str, start: int | None = None, end: int | None = None) -> bytes:
    """Return the bytes of a file, or some of them, in one request.

    s3fs asks for the size first, to read long files in parts at once: one request more for each image.
    """
    alone = {"max_concurrency": 1} if "max_concurrency" in inspect.signature(system.cat_file).parameters else {}
    data: bytes = system.cat_file(path, start=start, end=end, **alone)
    return data


def is_web(url: str) -> bool:
    """Return whether an address is that of a web server, which can be read only."""
    return url.partition("://")[0].lower() in ("http", "https")


def _find_on_web(system: Any, root: str) -> dict[str, dict[str, Any]]:
    """Return the files that the pages of a web server link to, each below its page, with what is said of them.

    A page that cannot be had is an error: its images would be missing without a word.
    """
    if not root.endswith("/"):
        return {root: system.info(root)}
    system.cat_file(root)  # what is wrong with it, which a listing does not tell
    linked = [path for path in system.find(root, maxdepth=_DEEPEST, on_error="raise") if not set(path) & set("?#")]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return dict(zip(linked, pool.map(lambda path: _info(system, path), linked), strict=True))


def _info(system: Any, path: str) -> dict[str, Any]:
    with reaching(path):
        found: dict[str, Any] = system.info(path)
        return found


def read_url(url: str, start: int | None = None, size: int | None = None) -> bytes:
    """Return the bytes of a file, or some of them.

    Raises:
        DataError: it cannot be read.
    """
    system, path = open_system(url)
    with reaching(url):
        end = None if start is None or size is None else start + size
        data = read_file(system, path, start, end)
    _count(len(data))
    # A web server may give the whole file where a part was asked for.
    return data[start:end] if end is not None and end - (start or 0) < len(data) else data


def copy_url(url: str, path: Path) -> None:
    """Copy a file to a path on this machine, whole or not at all.

    Raises:
        DataError: it cannot be read.
        OSError: it cannot be written.
    """
    system, name = open_system(url)
    part = path.with_name(f".{secrets.token_hex(6)}.part")
    try:
        with reaching(url):
            system.get_file(name, str(part))
        _count(part.stat().st_size)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def fetched_bytes() -> int:
    """Return how much this process has fetched so far, in bytes of files."""
    return _fetched[0]


def _count(size: int) -> None:
    with _lock:
        _fetched[0] += size


@dataclass(frozen=True)
class Elsewhere(os.PathLike[str]):
    """An image that is fetched when it is opened, once in a process; as a path it is that of the copy."""

    url: str
    name: str
    """Of the copy's file, for messages."""
    start: int | None = None
    """Where it begins in the file, of one that holds many."""
    size: int | None = None
    row: int | None = None
    """Which row of a Parquet file holds it."""
    sha256: bytes | None = None
    """What it must be; None where it has not been read before."""

    def __fspath__(self) -> str:
        """Return the path of a copy on this machine.

        Raises:
            DataError: it cannot be fetched, or is not what it was.
        """
        path = self._copy()
        if not path.exists():
            data = read_url(self.url, self.start, self.size) if self.row is None else _cell(self.url, self.row)
            if self.sha256 is not None and hashlib.sha256(data).digest() != self.sha256:
                raise DataError(f"{told(self.url)}: changed since it was featurized; plan and run again")
            part = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
            part.write_bytes(data)
            part.replace(path)
        return str(path)

    def drop(self) -> None:
        """Remove the copy."""
        self._copy().unlink(missing_ok=True)

    def _copy(self) -> Path:
        key = hashlib.sha256(f"{self.url}\0{self.start}\0{self.size}\0{self.row}".encode()).hexdigest()
        return scratch() / f"{key}{re.sub(r'[^.A-Za-z0-9]', '', Path(self.name).suffix)[:10]}"


_cells = threading.Lock()
_group: list[tuple[str, int, list[bytes | None]]] = []  # what was read last: rows are asked for one after the other


def _cell(url: str, row: int) -> bytes:
    """Return the image in a row of a Parquet file; the group of rows around it is kept for the next."""
    from tlc_edge.compiler.data.exports.parquet import read_group

    with _cells:
        kept = next((k for k in _group if k[0] == url and k[1] <= row < k[1] + len(k[2])), None)
        if kept is None:
            system, path = open_system(url)
            with reaching(url), system.open(path, "rb") as opened:
                kept = (url, *read_group(url, opened, row))
                _count(sum(len(data) for data in kept[2] if data is not None))
            _group[:] = [kept]
        data = kept[2][row - kept[1]]
    if data is None:
        raise DataError(f"{told(url)}: row {row} has no image any more; plan and run again")
    return data


_scratch: list[Path] = []


def scratch() -> Path:
    """Return a folder of this process alone, for copies; it goes when Python ends."""
    with _lock:
        if not _scratch:
            _scratch.append(Path(tempfile.mkdtemp(prefix="tlc-")))
            atexit.register(shutil.rmtree, _scratch[0], ignore_errors=True)
        return _scratch[0]
