"""Fetch a data set from an address, checked against its SHA-256."""

from __future__ import annotations

import importlib.util
import logging
import os
import re
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from tlc_edge.compiler.cache.bound import SCRATCH, make_room
from tlc_edge.compiler.data.records import Origin, Reading, Sample
from tlc_edge.runtime.errors import DataError, UsageError
from tlc_edge.runtime.files import file_sha256
from tlc_edge.runtime.install import pip_line
from tlc_edge.runtime.progress import Count, silent

from . import archive, npz
from .made_folder import made_folder

MAX_BYTES = 50 << 30
"""A download longer than this is broken off."""
EXPECTED = ""
SUFFIXES: tuple[str, ...] = ()


def claims(origin: Origin) -> bool:
    """Return whether it is an address, of whatever kind."""
    return "://" in origin.data


def read(reading: Reading) -> list[Sample]:
    """Fetch the file and return the images in it.

    Raises:
        UsageError: the checksum is none.
        DataError: the address is not that of a file which holds all, it cannot be fetched or read.
    """
    origin = reading.origin
    if not address_name(origin.data).lower().endswith((*npz.SUFFIXES, *archive.SUFFIXES)):
        raise DataError(
            f"{told(origin.data)}: an address must be that of an .npz, a .zip or a .tar archive, by its name, "
            "or of a folder, with / at its end"
        )
    checksum = None if origin.checksum is None else parse_checksum(origin.checksum)
    folder = made_folder(origin.cache, "downloads")
    path = fetch(origin.data, checksum, folder, reading.notes, reading.progress)
    return reading.read_other(replace(reading, origin=replace(origin, data=str(path))))


def told(url: str) -> str:
    """Return an address as a person and a report may see it: without user, password, query and fragment.

    What is no address comes back as it is.
    """
    if "://" not in url:
        return url
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        if "@" not in parts.path and host:
            return f"{parts.scheme}://{host}{parts.path}"
    except ValueError:
        pass
    return f"{url.partition('://')[0][:20]}://…"  # where a password cannot be told from the rest


def parse_checksum(text: str) -> str:
    """Return the hexadecimal digits of `sha256:…`, in lower case.

    Raises:
        UsageError: it is something else.
    """
    digits = text.strip().lower().removeprefix("sha256:")
    if not re.fullmatch(r"[0-9a-f]{64}", digits):
        raise UsageError(f"checksum {text!r}, expected sha256: and 64 hexadecimal digits")
    return digits


def address_name(url: str) -> str:
    """Return the file name in an address, without what could lead out of a folder.

    Raises:
        DataError: it is no address.
    """
    try:
        path = urlsplit(url).path
    except ValueError:
        raise DataError(f"{told(url)}: not an address; expected http:// or https://, a host and a file") from None
    # What stands before an `@` may be a password, in an address that is odd.
    name = unquote(path).replace("\\", "/").rpartition("/")[2].rpartition("@")[2]
    return re.sub(r"[^\w.+-]", "_", name).lstrip(".") or "download"


def fetch(url: str, checksum: str | None, folder: Path, notes: list[str], progress: Count = silent) -> Path:
    """Return the file at an `http` or `https` address, kept in `folder`.

    With a checksum (64 hexadecimal digits) a file fetched before is used again. Without one it is fetched
    each time, since it may have changed, and a note says its checksum.

    Raises:
        DataError: it cannot be fetched, or is not the file with that checksum; nothing is kept then.
    """
    if not re.match(r"https?://[^/]", url, re.IGNORECASE):
        raise DataError(f"{told(url)}: an address of this kind is not read; expected http:// or https://")
    if importlib.util.find_spec("pooch") is None:
        raise DataError(f"{told(url)}: pooch, which downloads, is missing; run: {pip_line('compiler')}")
    folder.mkdir(0o700, parents=True, exist_ok=True)
    if checksum is not None:
        _drop_damaged(kept := folder / f"{checksum[:32]}-{address_name(url)}", checksum)
        if not kept.exists():
            make_room(folder)
            _download(url, checksum, kept, progress)
        os.utime(kept)  # for make_room
        return kept
    make_room(folder)
    with tempfile.TemporaryDirectory(prefix=SCRATCH, dir=folder) as scratch:
        fresh = Path(scratch, "download")
        _download(url, None, fresh, progress)
        found = file_sha256(fresh)
        kept = folder / f"{found[:32]}-{address_name(url)}"
        shutil.move(fresh, kept)
    notes.append(f"{told(url)}: fetched without a checksum; --checksum sha256:{found} pins it and fetches it only once")
    return kept


def _drop_damaged(path: Path, checksum: str) -> None:
    if path.exists() and file_sha256(path) != checksum:
        path.unlink()


class _Meter:
    """Takes pooch's progress, and breaks off what is too long."""

    def __init__(self, url: str, progress: Count) -> None:
        self.total = 0
        self._url, self._progress, self._done = url, progress, 0

    def update(self, count: int) -> None:
        self._done += count
        if max(self._done, self.total) > MAX_BYTES:
            raise DataError(f"{told(self._url)}: more than {MAX_BYTES >> 30} GiB; download it by hand if it is right")
        self._progress(self._done >> 10, max(self.total, self._done) >> 10)

    def reset(self) -> None:
        self._done = 0

    def close(self) -> None:
        """Nothing is held open."""


def _download(url: str, checksum: str | None, to: Path, progress: Count) -> None:
    import pooch
    import requests

    pooch.get_logger().setLevel(logging.ERROR)  # it announces each download on the terminal
    make: Any = pooch.HTTPDownloader  # whose annotations do not know progress objects
    downloader = make(_Meter(url, progress), chunk_size=1 << 20, timeout=30)
    try:
        pooch.retrieve(url, checksum and f"sha256:{checksum}", to.name, to.parent, downloader=downloader)
    except requests.HTTPError as e:
        answer = f"{e.response.status_code} {e.response.reason}" if e.response is not None else "an error"
        raise DataError(f"{told(url)}: the server answered {answer}") from None
    except requests.RequestException as e:
        reason = "timed out" if isinstance(e, requests.Timeout) else "no connection, or it broke off"
        raise DataError(f"{told(url)}: {reason}; check the address and the network") from None
    except ValueError as e:
        if checksum is None:
            raise DataError(f"{told(url)}: cannot be fetched; check the address") from None
        found = re.findall(r"[0-9a-f]{64}", str(e).replace(checksum, ""))
        given = f"SHA-256 is {found[0]}" if found else "SHA-256 differs"
        raise DataError(f"{told(url)}: {given}, expected {checksum}; the file was changed or damaged") from None
