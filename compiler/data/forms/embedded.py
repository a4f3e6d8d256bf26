"""Images in the bytes of another file: they are written out once, in the cache, and read as any others."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tlc_edge.compiler.cache.bound import SCRATCH, make_room
from tlc_edge.compiler.data.records import Reading, Sample

from .made_folder import made_folder


@dataclass(frozen=True, eq=False)
class Embedded:
    """One image in a file that holds many."""

    data: bytes
    """Of an image file."""
    label: str
    split: str | None
    name: str
    """Unique in its file."""
    sha256: str | None = None
    """Of the image that it was made from, where it is known."""


class Made:
    """The folder for the images made of one file; what is there already is not written again."""

    def __init__(self, reading: Reading, key: str) -> None:
        folder = made_folder(reading.origin.cache, "images")
        folder.mkdir(0o700, parents=True, exist_ok=True)
        make_room(folder)
        self._folder = folder / key
        self._folder.mkdir(0o700, exist_ok=True)
        os.utime(self._folder)  # for make_room

    def path(self, name: str) -> Path:
        """Return where an image of that name is, or would be."""
        return self._folder / name

    def keep(self, name: str, data: bytes) -> Path:
        """Return where an image is, after writing it whole if it is not there."""
        path = self._folder / name
        if not path.exists():
            part = Path(self._folder, f"{SCRATCH}{secrets.token_hex(6)}")
            try:
                with part.open("xb") as file:
                    file.write(data)
                part.replace(path)
            finally:
                part.unlink(missing_ok=True)
        return path


def take_embedded(images: Iterable[Embedded], key: str, reading: Reading) -> list[Sample]:
    """Return the images that a file holds; `key` is a hash of it."""
    made = Made(reading, key)
    return [
        Sample(
            made.keep(hashlib.sha256(of.data).hexdigest(), of.data),
            of.label.strip(),
            of.split,
            of.name,
            sha256=of.sha256,
        )
        for of in images
    ]
