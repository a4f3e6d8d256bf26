"""WebDataset: tar files of samples, each an image and its class under one name, `0001.jpg` beside `0001.cls`.

https://github.com/webdataset/webdataset, *The WebDataset Format*.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from tlc_edge.compiler.data.records import Origin, Reading, Sample
from tlc_edge.runtime.errors import DataError, first_line
from tlc_edge.runtime.images.load import MAX_BYTES
from tlc_edge.runtime.images.walk import is_image

from .embedded import Embedded, take_embedded
from .split_folders import split_of

EXPECTED = ""
SUFFIXES: tuple[str, ...] = ()
NAME = "WebDataset's tar files"
_CLASS = (".cls", ".json", ".txt")
_KEYS = ("label", "class", "cls", "category", "class_name")
_FIRST = 20  # members that are looked at to know one


@dataclass(frozen=True, eq=False)
class Member:
    """An image in a tar file."""

    data: bytes
    label: str
    name: str
    """The tar file's, and its own."""
    start: int
    """Where its bytes begin in the tar file."""


def claims(origin: Origin) -> bool:
    """Return whether it is such a tar file, or a folder of them."""
    return any(_is_one(path) for path in _tars(Path(origin.data))[:1])


def read(reading: Reading) -> list[Sample]:
    """Return the images in it.

    Raises:
        DataError: a file is damaged, or an image has no class.
    """
    files = _tars(Path(reading.origin.data))
    reading.recognised.append(NAME)
    key = hashlib.sha256(
        "".join(f"{file.name}\0{file.stat().st_size}\0{file.stat().st_mtime_ns}" for file in files).encode()
    )

    def embedded() -> Iterator[Embedded]:
        for file in files:
            with _open(file) as opened:
                for member in members(opened, file.name):
                    yield Embedded(member.data, member.label, tar_split(file.name), member.name)

    return sorted(take_embedded(embedded(), key.hexdigest(), reading), key=lambda s: (s.label, s.name))


def tar_split(name: str) -> str | None:
    """Return the split that a tar file's name says, as `train-000001.tar` and `imagenet1k-validation-00.tar` do."""
    stem = Path(name).stem
    said = {split for word in re.split(r"[\W\d_]+", stem) if word and (split := split_of(word))}
    return split_of(stem) or (said.pop() if len(said) == 1 else None)


def members(opened: IO[bytes], file: str) -> Iterator[Member]:
    """Yield the images of a tar file called `file`, which is read once from its beginning to its end.

    Raises:
        DataError: it is damaged, or an image has no class.
    """
    key, parts = "", dict[str, tuple[bytes, int]]()
    try:
        with tarfile.open(fileobj=opened, mode="r|") as tar:
            for info in tar:
                base = info.name.rpartition("/")[2]
                own = info.name[: len(info.name) - len(base)] + base.partition(".")[0]
                if own != key:
                    yield from _sample(key, parts, file)
                    key, parts = own, {}
                suffix = base[base.find(".") :].lower() if "." in base else ""
                if info.isfile() and info.size <= MAX_BYTES and (suffix in _CLASS or is_image(base)):
                    content = tar.extractfile(info)
                    parts[suffix] = (b"" if content is None else content.read(), info.offset_data)
            yield from _sample(key, parts, file)
    except (tarfile.TarError, OSError, EOFError, zlib.error) as e:
        raise DataError(f"{file}: damaged or incomplete ({first_line(e)}); fetch it again") from None


def _sample(key: str, parts: dict[str, tuple[bytes, int]], file: str) -> Iterator[Member]:
    images = [suffix for suffix in parts if suffix not in _CLASS]
    if not images:
        return
    label = _label(parts)
    if label is None:
        raise DataError(f"{file}: {key} has no class; expected {key}.cls or {key}.json with a label beside the image")
    for suffix in images:
        data, start = parts[suffix]
        yield Member(data, label, f"{file}/{key}{suffix}", start)


def _label(parts: dict[str, tuple[bytes, int]]) -> str | None:
    for suffix in _CLASS:
        if suffix not in parts:
            continue
        text = parts[suffix][0].decode("utf-8", "replace").strip()
        if suffix != ".json":
            return text
        try:
            said: Any = json.loads(text)
        except ValueError:
            continue
        found = next((said[k] for k in _KEYS if k in said), None) if isinstance(said, dict) else said
        if isinstance(found, str | int):
            return str(found)
    return None


def _tars(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(inside for inside in path.glob("*.tar") if inside.is_file())
    return [path] if (path.suffix.lower() == ".tar" or is_packed(path)) and path.is_file() else []


def _open(file: Path) -> IO[bytes]:
    return cast("IO[bytes]", gzip.open(file, "rb")) if is_packed(file) else file.open("rb")


def is_packed(path: Path) -> bool:
    """Whether a file is called like a tar file that is compressed: parts of it cannot be read by where they lie."""
    return path.name.lower().endswith((".tar.gz", ".tgz"))


def _is_one(path: Path) -> bool:
    """Whether a tar file begins with an image that has its class beside it."""
    try:
        with tarfile.open(path, mode="r|gz" if is_packed(path) else "r|") as tar:
            names = [info.name for _, info in zip(range(_FIRST), tar, strict=False) if info.isfile()]
    except (tarfile.TarError, OSError, EOFError, zlib.error):
        return False
    classes = {os.path.splitext(name)[0] for name in names if name.lower().endswith((".cls", ".json"))}  # noqa: PTH122
    return any(is_image(name) and name[: name.rfind(".")] in classes for name in names)
