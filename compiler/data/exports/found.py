"""What every reader of an export shares: what was found, how its files are read, and how what is wrong is told."""

from __future__ import annotations

import contextlib
import json
import xml.etree.ElementTree as ET
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tlc_edge.compiler.data.forms.split_folders import plan_folder, split_of
from tlc_edge.runtime.errors import DataError
from tlc_edge.runtime.images.walk import folders_in, holds_images


@dataclass(frozen=True)
class Found:
    """The files by which an export is recognised."""

    root: Path
    files: tuple[Path, ...]
    preferred: str = ""
    """How the name of the folder begins whose images are meant, where several have the same name."""


def lists_in(root: Path, *patterns: str) -> tuple[Path, ...]:
    """Return the files of these names in a folder and in the folders of a split in it, in order."""
    folders = [root, *(path for path in folders_in(root) if split_of(path.name))]
    return tuple(path for folder in folders for pattern in patterns for path in sorted(folder.glob(pattern)))


def has_classes(root: Path) -> bool:
    """Whether a folder is one with a folder per class as it is, so that a list in it may be a note."""
    try:
        folders = plan_folder(root).folders
    except DataError:
        return False
    return len({folder.path.name for folder in folders if holds_images(folder.path)}) > 1


def read_json(path: Path) -> Any:
    """Return the document in a file.

    Raises:
        DataError: it is not JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as e:
        raise DataError(f"{path}: not readable JSON ({e})") from None


def read_xml(path: Path) -> ET.Element:
    """Return the root of an XML document.

    Raises:
        DataError: it is none, or declares entities, which could be made to fill the memory.
    """
    data = path.read_bytes()
    if b"<!ENTITY" in data or b"<!DOCTYPE" in data:
        raise DataError(f"{path}: declares entities, which no export needs; do not trust it")
    try:
        return ET.fromstring(data)  # without entities there is nothing to expand
    except (ET.ParseError, ValueError) as e:
        raise DataError(f"{path}: not readable XML ({e})") from None


@contextlib.contextmanager
def as_written_by(name: str, path: Path) -> Generator[None]:
    """Tell what is missing or of another kind in a document as one sentence.

    Raises:
        DataError: something was.
    """
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as e:
        what = f"no {e.args[0]!r}" if isinstance(e, KeyError) and e.args else e
        raise DataError(f"{path}: not as {name} writes it ({what}); export it again") from None
