"""Lists of image files with their labels: their files are found, their contradictions told."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tlc_edge.compiler.data.records import Reading, Sample, Skipped
from tlc_edge.runtime.errors import DataError
from tlc_edge.runtime.images.load import source_name
from tlc_edge.runtime.images.walk import is_junk, walk

from .split_folders import BESIDE, split_of

_UPLOADED = re.compile(r"^[0-9a-f]{8}-")
_DRIVE = re.compile(r"[A-Za-z]:[\\/]|\\\\")


@dataclass(frozen=True)
class Row:
    """One image of a list."""

    path: str
    """As the list has it."""
    label: str
    split: str | None = None
    """`train`, `validation`, `test` or None."""
    where: str = ""
    """Where the list says so, for people, such as `line 3`."""


def split_named(text: str, where: str) -> str | None:
    """Return the split that a list names; None where it names none.

    Raises:
        DataError: it names something else.
    """
    split = split_of(text) or BESIDE.get(text.casefold())
    if text and split is None:
        raise DataError(f"{where}: split {text!r}, expected train, validation, test or nothing")
    return split


@dataclass
class Finder:
    """Finds the files that a list names, however Windows or Unicode writes them."""

    root: Path
    within: Path | None = None
    """The folder that nothing may lie outside of: that of an unpacked archive."""
    by_name: bool = False
    """Look for a name without folders, or without its suffix, among all images below."""
    preferred: str = ""
    """Of several such, take the one in the folder whose name begins like this."""
    windows: list[str] = field(default_factory=list[str])
    """The paths that were found only with their backslashes taken as those of folders."""
    _names: dict[Path, dict[str, list[Path]]] = field(default_factory=dict[Path, dict[str, list[Path]]])
    _index: dict[str, list[Path]] | None = None

    def find(self, text: str) -> Path | None:
        """Return the file that a list calls `text`, or None.

        Raises:
            DataError: it lies outside of where it must be.
        """
        found = self._find(text)
        if found is not None and self.within is not None and not found.resolve().is_relative_to(self.within.resolve()):
            raise DataError(f"{self.within}: lists {text!r}, which is not in the archive; do not trust it")
        return found

    def _find(self, text: str) -> Path | None:
        try:
            if (path := self.root / text).is_file():
                return path
        except (OSError, ValueError):
            return None
        slashed = text.replace("\\", "/")
        found = None if _DRIVE.match(text) else self._by_parts(slashed)
        if found is None and self.by_name:
            found = self._by_name(slashed)
        if found is not None and slashed != text:
            self.windows.append(text)
        return found

    def missing(self, text: str) -> str:
        """Return why there is no such file."""
        if "://" in text:
            return "an address: a list names files here; fetch what it names, or give one address of all"
        if _DRIVE.match(text):
            return "no such file here: a path of a Windows machine; make it relative to the list's folder"
        same = (self._index or {}).get(_key(text.replace("\\", "/").rpartition("/")[2]), [])
        if len(same) > 1:
            return (
                f"{len(same)} files are called so, such as {source_name(self._under(same[0]))}; name their folder, too"
            )
        return "no such file"

    def _under(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def note(self, what: str) -> list[str]:
        """Return what had to be assumed about paths; `what` is the list."""
        if not self.windows:
            return []
        paths = "1 path" if len(self.windows) == 1 else f"{len(self.windows)} paths"
        return [f"{what}: {paths} with backslashes, as Windows writes them, such as {self.windows[0]}; read as folders"]

    def _by_parts(self, text: str) -> Path | None:
        """Walk down part by part; what differs only in case or composition is taken where there is no other."""
        here = self.root
        for part in text.split("/"):
            if part in ("", ".", ".."):
                here = here / part if part else here
                continue
            if (here / part).exists():
                here = here / part
                continue
            if here not in self._names:
                self._names[here] = _by_key(here.iterdir()) if here.is_dir() else {}
            alike = self._names[here].get(_key(part), [])
            same = [path for path in alike if _composed(path.name) == _composed(part)] or alike
            if len(same) != 1:
                return None
            here = same[0]
        return here if here.is_file() else None

    def _by_name(self, text: str) -> Path | None:
        if self._index is None:
            self._index = {}
            for path, problem in walk(self.root):
                if problem is None:
                    for name in {_key(path.name), _key(path.stem)}:
                        self._index.setdefault(name, []).append(path)
        name = text.rpartition("/")[2].rpartition("?d=")[2]
        # Label Studio puts eight digits before the name of what was uploaded.
        found = self._index.get(_key(name)) or self._index.get(_key(_UPLOADED.sub("", name)), [])
        if len(found) > 1 and self.preferred:
            found = [p for p in found if any(_key(part).startswith(self.preferred) for part in self._parts(p))]
        return found[0] if len(found) == 1 else None

    def _parts(self, path: Path) -> tuple[str, ...]:
        return path.relative_to(self.root).parts[:-1]


def take(rows: Iterable[Row], finder: Finder, what: str, reading: Reading) -> list[Sample]:
    """Return the images that rows name; those that are missing or repeated are skipped.

    Raises:
        DataError: an image has two labels. A data set with several labels an image is not what is built here.
    """
    samples: list[Sample] = []
    first: dict[str, Row] = {}
    for row in rows:
        at = f"{what}, {row.where}" if row.where else what
        place = f" ({row.where})" if row.where else ""
        label = unicodedata.normalize("NFC", row.label).strip()
        path = finder.find(row.path)
        key = os.path.normpath(path or row.path)
        earlier = first.setdefault(key, row)
        if unicodedata.normalize("NFC", earlier.label).strip() != label:
            before = f" on {earlier.where}" if earlier.where else ""
            raise DataError(
                f"{at}: {row.path} is {row.label!r}, but {earlier.label!r}{before}; one image has one label here, "
                "multi-label data are not read"
            )
        if earlier is not row:
            skipped = f"{row.where or 'it'} repeats {earlier.where or 'another row'}"
            reading.skipped.append(Skipped(row.path, skipped, label))
        elif path is None:
            reading.skipped.append(Skipped(row.path, f"{finder.missing(row.path)}{place}", label))
        else:
            samples.append(Sample(path, label, row.split, row.path.replace("\\", "/")))
    reading.notes.extend(finder.note(what))
    return samples


def _by_key(paths: Iterable[Path]) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in paths:
        if not is_junk([path.name]):
            found.setdefault(_key(path.name), []).append(path)
    return found


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _key(text: str) -> str:
    return _composed(text).casefold()
