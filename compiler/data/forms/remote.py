"""Read a data set from an object store or any other place that fsspec reaches.

The files are copied once and read by the forms for what lies on a disk; `shadow` copies only what says the labels, and
leaves empty files in the place of images, for a plan that other machines carry out.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from tlc_edge.compiler.cache.bound import make_room
from tlc_edge.compiler.data.records import Origin, Reading, Sample
from tlc_edge.runtime.errors import DataError
from tlc_edge.runtime.files import write_file
from tlc_edge.runtime.images.load import MAX_BYTES
from tlc_edge.runtime.images.walk import is_image

from . import archive, npz
from .address import MAX_BYTES as MOST
from .address import told
from .elsewhere import Listed, copy_url, is_elsewhere, is_web, list_below, read_url
from .made_folder import made_folder

EXPECTED = ""
SUFFIXES: tuple[str, ...] = ()
PLACES = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oci", "hf", "webhdfs", "hdfs", "memory")
"""What addresses begin with that are read through fsspec."""
HOLDERS = (".tar", ".parquet")
"""Suffixes of files that hold many images."""
_HELD = (*archive.SUFFIXES, *npz.SUFFIXES, ".parquet", ".gallery")
_STATE = ".listed.json"
_AT_ONCE = 16  # copies


def claims(origin: Origin) -> bool:
    """Return whether it is a place that fsspec reaches, or a folder on the web; a file there is an address like any."""
    if is_web(origin.data):
        return origin.data.endswith("/")
    return is_elsewhere(origin.data) and origin.data.partition("://")[0].lower() in PLACES


def is_listed(data: str) -> bool:
    """Return whether a plan lists what is there; an archive on the web is fetched and unpacked instead."""
    if is_web(data):
        return data.lower().endswith(("/", *HOLDERS))
    return is_elsewhere(data)


def read(reading: Reading) -> list[Sample]:
    """Copy what is there into the cache and read it as any other data set.

    Raises:
        DataError: it cannot be reached, or is no data set.
    """
    url = reading.origin.data
    listed = list_below(url)
    if sum(file.size for file in listed) > MOST:
        raise DataError(f"{told(url)}: more than {MOST >> 30} GiB; build it on a cluster (--cluster), shard by shard")
    downloads = made_folder(reading.origin.cache, "downloads")
    downloads.mkdir(0o700, parents=True, exist_ok=True)
    make_room(downloads)
    folder = downloads / hashlib.sha256(url.encode()).hexdigest()[:32] / _name(url)
    _copy(listed, folder, reading)
    os.utime(folder.parent)  # for make_room
    return read_copy(folder, url, listed, reading)


def read_copy(folder: Path, url: str, listed: Sequence[Listed], reading: Reading) -> list[Sample]:
    """Read the data set that `folder` holds in the place of an address.

    Raises:
        DataError: it is none.
    """
    root = folder
    if len(listed) == 1 and url.rstrip("/").endswith("/" + listed[0].path) and listed[0].path.lower().endswith(_HELD):
        root = folder / listed[0].path
    try:
        return reading.read_other(replace(reading, origin=replace(reading.origin, data=str(root)), within=folder))
    except DataError as e:
        raise DataError(str(e).replace(str(root), told(url))) from None
    finally:
        reading.notes[:] = [note.replace(str(root), told(url)) for note in reading.notes]


def shadow(listed: Sequence[Listed], folder: Path) -> None:
    """Make a folder in which images are empty files of their size, and what says their labels is copied.

    Raises:
        DataError: something cannot be copied.
    """
    wanted = [file for file in listed if not is_image(file.path) and file.path.lower().endswith(archive.LABEL_FILES)]
    file: Listed | None = None
    try:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for file, data in zip(wanted, pool.map(lambda file: read_url(file.url), wanted), strict=True):
                _place(folder, file).write_bytes(data)
        for file in listed:
            if is_image(file.path):
                with _place(folder, file).open("xb") as out:
                    out.truncate(file.size)  # takes no room on the disk
    except OSError as e:
        what = told(file.url)[:300] if file else folder
        raise DataError(f"{what}: has no place on this disk ({e.strerror or e}); make room, or rename it") from None


def _place(folder: Path, file: Listed) -> Path:
    path = folder.joinpath(*file.path.split("/"))
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _name(url: str) -> str:
    return url.rstrip("/").rpartition("/")[2] or "data"


def _copy(listed: Sequence[Listed], folder: Path, reading: Reading) -> None:
    """Bring a folder up to what is listed: what is there in the same state is not copied again."""
    folder.mkdir(0o700, parents=True, exist_ok=True)
    state = folder.parent / _STATE
    had: dict[str, list[object]] = json.loads(state.read_text("utf-8")) if state.exists() else {}
    wanted = [
        file for file in listed if file.path.lower().endswith((*archive.LABEL_FILES, *_HELD)) or is_image(file.path)
    ]
    for gone in set(had) - {file.path for file in wanted}:
        folder.joinpath(gone).unlink(missing_ok=True)
    now = {file.path: [file.size, file.etag] for file in wanted}
    # Where nothing says whether a file has changed, it is copied again.
    missing = [
        file
        for file in wanted
        if not file.etag or had.get(file.path) != now[file.path] or not _place(folder, file).exists()
    ]
    for file in missing:
        if file.size > MAX_BYTES and is_image(file.path):
            raise DataError(f"{told(file.url)}: an image of {file.size:,} bytes; remove it")
    done, total = 0, sum(file.size for file in missing)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for size in pool.map(lambda file: _fetch(folder, file), missing):
            done += size
            reading.progress(done >> 10, max(total, done) >> 10)
    write_file(state, json.dumps(now).encode(), private=True)


def _fetch(folder: Path, file: Listed) -> int:
    copy_url(file.url, _place(folder, file))
    return file.size


def is_held(listed: Sequence[Listed]) -> bool:
    """Return whether the images lie in files that hold many, WebDataset's tar files or Parquet."""
    return any(file.path.lower().endswith(HOLDERS) for file in listed) and not any(is_image(f.path) for f in listed)
