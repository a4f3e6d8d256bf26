"""Bring what was taught to several devices together, whatever model each of them has."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tlc_edge.runtime.bundle.bundle import Bundle
from tlc_edge.runtime.engines.open import open_engine
from tlc_edge.runtime.errors import GalleryError
from tlc_edge.runtime.progress import Count, silent

from .gallery import Gallery
from .migrate import embed_again
from .path import SUFFIX, default_gallery
from .receiver import Conflict, Receiver
from .transfer import check_rule, delete, new_file, stored, take_in

MOST_CONFLICTS = 10_000
"""That a merge tells one by one."""
_FILES = 256  # a transaction


@dataclass(frozen=True)
class Merged:
    """What an import or a merge did, all files together."""

    path: Path
    added: int
    duplicates: int
    """Left out: the same image under the same label."""
    removed: int
    """Examples whose label an incoming one replaced."""
    gone: int
    """Rows that there are fewer because examples were merged at a limit."""
    embedded: int
    """Examples of another model, embedded again from their thumbnails."""
    lost: int
    """Examples of another model without a thumbnail, which could not be."""
    conflicts: tuple[Conflict, ...]
    classes: dict[str, int]
    more_conflicts: int = 0
    """Those of a merge beyond MOST_CONFLICTS, which are counted only."""


def import_file(
    bundle: Bundle,
    file: Path,
    gallery: Path | None = None,
    conflicts: str = "first",
    engine: str | None = None,
    progress: Count = silent,
) -> Merged:
    """Add the examples of another gallery or export to the bundle's gallery, as one operation that undo takes back.

    Of the same model, the vectors come as they are; of another, the thumbnails are embedded again. Stopped
    in the middle, nothing was imported; run again, it goes on where it was.

    Raises:
        UsageError: `conflicts` is not a rule of `take_in`.
        GalleryError: there is no such file, it is damaged, or the gallery cannot be written.
        BundleError, EngineError: the bundle cannot be used.
    """
    path = gallery if gallery is not None else default_gallery(bundle.path)
    if path.exists() and file.exists() and path.samefile(file):
        raise GalleryError(f"{file}: this is the gallery itself; name the file of another device")
    manifest = bundle.manifest
    growing = path.with_name(f"{path.name}.{file.name}.importing")
    with _open(file) as other:
        whole = _Embedding(bundle, engine, progress)
        with (
            Gallery.open(path, manifest.fingerprint, manifest.embedding_width, create=True) as mine,
            whole.of(other, growing) as source,
        ):
            intake = take_in(mine, stored(source), "import", file.name, conflicts)
    delete(growing)
    change = intake.change
    return Merged(
        path,
        change.added,
        change.skipped,
        change.removed,
        change.gone,
        whole.moved,
        whole.lost,
        tuple(intake.conflicts),
        dict(change.classes),
    )


def merge(
    bundle: Bundle,
    files: Sequence[Path],
    out: Path,
    conflicts: str = "first",
    engine: str | None = None,
    progress: Count = silent,
    each: Count = silent,
) -> Merged:
    """Make one new file of several galleries or exports, one after the other; they stay as they are.

    A folder stands for the files in it whose names end with `.gallery`. In conflicts the files rank as they are named
    (those of a folder by name): with `first` the earlier label stands. What it holds in memory does not grow with their
    number, but for their names.

    Raises:
        UsageError: `conflicts` is not a rule of `take_in`.
        GalleryError: a file is missing or damaged, a folder has none, or `out` exists or cannot be written.
        BundleError, EngineError: the bundle cannot be used.
    """
    manifest = bundle.manifest
    whole = _Embedding(bundle, engine, progress)
    named = _named(files)
    check_rule(conflicts)
    sums = _Sums()
    growing: list[Path] = []
    with new_file(out, manifest.fingerprint, manifest.embedding_width) as new:
        for start in range(0, len(named), _FILES):
            with new.writing() as db:
                for number, file in enumerate(named[start : start + _FILES], start):
                    beside = out.with_name(f"{out.name}.{number}.importing")
                    with _open(file) as other, whole.of(other, beside) as source:
                        if source is not other:
                            growing.append(beside)
                        taken = Receiver(db, partial(_begin, new, file.name), conflicts)
                        taken.take_all(stored(source), new.path)
                    sums.add(taken)
                    each(number + 1, len(named))
        classes = new.classes()
    for path in growing:
        delete(path)
    return sums.result(out, whole, classes)


def _begin(gallery: Gallery, name: str) -> int:
    return gallery.operation("merge", name)[0]


def _open(file: Path) -> Gallery:
    """Open a file that was handed over: where it is not there, nothing that is taught here makes it.

    Raises:
        GalleryError: there is none, or as `Gallery.open_any`.
    """
    if not file.exists():
        raise GalleryError(f"{file}: no such gallery; check its name")
    return Gallery.open_any(file)


def _named(files: Sequence[Path]) -> list[Path]:
    """Return the files, with those of folders in their place.

    Raises:
        GalleryError: a folder has none.
    """
    found: list[Path] = []
    for file in files:
        if file.is_dir():
            inside = sorted(f for f in file.iterdir() if f.suffix == SUFFIX and f.is_file())
            if not inside:
                raise GalleryError(f"{file}: no file in this folder ends with {SUFFIX}; name the files of the devices")
            found += inside
        else:
            found.append(file)
    return found


class _Embedding:
    """Opens galleries as galleries of the bundle's model; loads the model only where it has to."""

    def __init__(self, bundle: Bundle, engine: str | None, progress: Count) -> None:
        self._bundle = bundle
        self._name = engine
        self._progress = progress
        self.moved = self.lost = 0

    @contextlib.contextmanager
    def of(self, other: Gallery, growing: Path) -> Generator[Gallery]:
        """Yield a gallery of the bundle's model with what `other` holds: itself, or `growing`."""
        manifest = self._bundle.manifest
        if other.fingerprint == manifest.fingerprint:
            other.expect(manifest.fingerprint, manifest.embedding_width)
            yield other
            return
        runner, _ = open_engine(self._bundle, self._name)
        moved, lost = embed_again(other, growing, manifest, runner, self._progress)
        self.moved += moved
        self.lost += lost
        with Gallery.open(growing, manifest.fingerprint, manifest.embedding_width, read_only=True) as embedded:
            yield embedded


@dataclass
class _Sums:
    """What many files came to."""

    added: int = 0
    skipped: int = 0
    removed: int = 0
    conflicts: list[Conflict] = field(default_factory=list[Conflict])
    more: int = 0

    def add(self, taken: Receiver) -> None:
        self.added += taken.added
        self.skipped += taken.skipped
        self.removed += taken.removed
        room = max(0, MOST_CONFLICTS - len(self.conflicts))
        self.conflicts += taken.conflicts[:room]
        self.more += len(taken.conflicts[room:])

    def result(self, path: Path, whole: _Embedding, classes: dict[str, int]) -> Merged:
        return Merged(
            path,
            added=self.added,
            duplicates=self.skipped,
            removed=self.removed,
            gone=0,  # a new file has no limits while it is filled
            embedded=whole.moved,
            lost=whole.lost,
            conflicts=tuple(self.conflicts),
            classes=classes,
            more_conflicts=self.more,
        )
