"""What people name as images: files, folders, patterns, archives, lists of them, and standard input.

A folder stands for the images in it and below, a pattern (`*.jpg`, `**`) for what it matches, a .zip for the images in
it, `@FILE` for what each line of a file names (`@-`: of standard input), and `-` for one image on standard input.
Nothing is unpacked to the disk: what an archive holds is read in its turn.
"""

from __future__ import annotations

import glob
import io
import os
import sys
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from tlc_edge.runtime.errors import ImageError, first_line
from tlc_edge.runtime.zip_damage import ZIP_DAMAGE

from .load import Source, source_name
from .walk import is_image, is_junk, walk

MAX_MEMBER = 1 << 27
"""Bytes that one image in an archive may unpack to: by what comes out, not by what the archive says."""
_ZIP = ".zip"


@dataclass(frozen=True, eq=False)
class Named:
    """One image, and what it is called in what is said of it."""

    name: str
    source: Source
    """Where it cannot be read, reading it raises an ImageError with the `problem`."""
    problem: str | None = None
    """Why it cannot be read, where that is known already."""


class NamedBytes(bytes):
    """The bytes of an image file that has a name all the same."""

    name: str


class _Unreadable(io.RawIOBase):
    """Stands among images for one that cannot be read."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def read(self, size: int = -1) -> bytes:  # noqa: ARG002 - the file's own signature
        raise ImageError(self._text)


def named_images(words: Iterable[str]) -> Iterator[Named]:
    """Yield the images that words stand for, in order; what cannot be read stands in its place.

    Paths in a list are relative to the list. A word that is a file or folder as it is, whatever marks it has, is that.
    """
    for word in words:
        yield from _images_of(word)


def one_image(word: str) -> Source:
    """Return what a word stands for where one image is meant: `-` is standard input.

    Where standard input is closed, reading it says so.
    """
    return _standard_input().source if word == "-" else word


def _images_of(word: str) -> Iterator[Named]:
    if word == "-":
        yield _standard_input()
    elif os.path.lexists(word) or "://" in word or word.startswith("data:"):
        yield from _at(word)
    elif word.startswith("@") and len(word) > 1:
        yield from _listed(word[1:])
    elif glob.has_magic(word):
        yield from _matched(word)
    else:
        yield from _at(word)


def _standard_input() -> Named:
    if sys.stdin is None:  # pyright: ignore[reportUnnecessaryComparison] - so Python says that it is closed
        return _bad("-", "-: standard input is closed, expected an image there")
    return Named("-", sys.stdin.buffer)


def _at(path: str) -> Iterator[Named]:
    """Yield what is at a path: a folder's images, an archive's, or the file itself, there or not."""
    if os.path.isdir(path):  # noqa: PTH112 - Path raises for some names
        none = True
        for found, problem in walk(Path(path)):
            none, name = False, os.fspath(found)
            yield Named(name, name) if problem is None else _bad(name, f"{source_name(name)}: {problem}")
        if none:
            yield _bad(path, f"{source_name(path)}: no images in it; give a folder of images, or files")
    elif path.lower().endswith(_ZIP) and os.path.isfile(path):  # noqa: PTH113
        yield from _packed(path)
    else:
        yield Named(path, path)


def _matched(pattern: str) -> Iterator[Named]:
    """Yield the images that a pattern matches, each once though `**` may match its folder too."""
    seen: set[str] = set()
    own = Path(pattern).parts
    for path in sorted(glob.glob(pattern, recursive=True)):  # noqa: PTH207 - the pattern may be absolute
        if is_junk([part for part in Path(path).parts if part not in own]):
            continue
        if os.path.isdir(path) or is_image(path) or path.lower().endswith(_ZIP):  # noqa: PTH112
            for one in _at(path):
                if one.name not in seen and not (one.problem and os.path.isdir(path)):  # noqa: PTH112
                    seen.add(one.name)
                    yield one
    if not seen:
        yield _bad(pattern, f"{source_name(pattern)}: matches no image; ** stands for folders, * for any name")


def _listed(name: str) -> Iterator[Named]:
    """Yield what the lines of a list name: files, folders, patterns and archives."""
    shown = f"@{source_name(name)}"
    try:
        text = _read_list(name)
    except OSError as e:
        why = "no such list; after @ stands a file that names an image per line"
        yield _bad(shown, f"{shown}: {why if isinstance(e, FileNotFoundError) else e.strerror or e}")
        return
    lines = [line.strip("\r") for line in text.split("\n")]
    lines = [line for line in lines if line.strip()]
    if "\0" in text or not lines:
        why = "not a list of names" if lines else "names nothing"
        yield _bad(shown, f"{shown}: {why}; a list has the name of an image on each line")
        return
    folder = "" if name == "-" else os.path.dirname(name)  # noqa: PTH120 - names are kept as they are written
    for line in lines:
        path = os.path.join(folder, line)  # noqa: PTH118
        there = os.path.lexists(path) or not glob.has_magic(line)
        yield from (_at(path) if there else _matched(os.path.join(glob.escape(folder), line)))  # noqa: PTH118


def _read_list(name: str) -> str:
    """Return a list's text; names need not be valid UTF-8.

    Raises:
        OSError: it cannot be read.
    """
    if name != "-":
        data = Path(name).read_bytes()
    elif sys.stdin is None:  # pyright: ignore[reportUnnecessaryComparison]
        raise OSError("standard input is closed")
    else:
        data = sys.stdin.buffer.read()
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):  # as Windows' PowerShell writes
        return data.decode("utf-16", "replace").lstrip("\ufeff")
    return data.decode("utf-8-sig", "surrogateescape")


def _packed(path: str) -> Iterator[Named]:
    """Yield the images of a .zip in its order; each is unpacked into memory in its turn."""
    shown, found = source_name(path), False
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                parts = info.filename.split("/")
                if info.filename and not info.is_dir() and is_image(info.filename) and not is_junk(parts):
                    found = True
                    yield _member(archive, info, f"{shown}/{source_name(info.filename)}")
    except ZIP_DAMAGE as e:
        yield _bad(path, f"{shown}: cannot be read as a .zip ({first_line(e)})")
        return
    if not found:
        yield _bad(path, f"{shown}: no images in it")


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str) -> Named:
    try:
        with archive.open(info) as file:
            data = NamedBytes(file.read(MAX_MEMBER + 1))
    except ZIP_DAMAGE as e:
        return _bad(name, f"{name}: damaged in the archive ({first_line(e)})")
    except RuntimeError:
        return _bad(name, f"{name}: locked with a password; unpack it and give the folder")
    if len(data) > MAX_MEMBER:
        return _bad(name, f"{name}: unpacks to more than {MAX_MEMBER} bytes")
    data.name = name
    return Named(name, data)


def _bad(name: str, text: str) -> Named:
    return Named(name, cast("IO[bytes]", _Unreadable(text)), text)
