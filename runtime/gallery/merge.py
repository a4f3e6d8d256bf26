"""Bring what was taught to several devices together, whatever model each of them has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tlc_edge.runtime.bundle.bundle import Bundle
from tlc_edge.runtime.engines.open import open_engine
from tlc_edge.runtime.errors import GalleryError
from tlc_edge.runtime.progress import Count, silent

from .gallery import Gallery
from .migrate import embed_again
from .path import default_gallery
from .transfer import Conflict, Intake, delete, new_file, stored, take_in


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
    with Gallery.open_any(file) as other:
        whole = _Embedding(bundle, engine, progress)
        with (
            Gallery.open(path, manifest.fingerprint, manifest.embedding_width, create=True) as mine,
            whole.of(other, growing) as source,
        ):
            intake = take_in(mine, stored(source), "import", file.name, conflicts)
    delete(growing)
    return _sum(path, [intake], whole)


def merge(
    bundle: Bundle,
    files: Sequence[Path],
    out: Path,
    conflicts: str = "first",
    engine: str | None = None,
    progress: Count = silent,
) -> Merged:
    """Make one new file of several galleries or exports; they stay as they are.

    In conflicts the files rank as they are named: with `first` the earlier label stands.

    Raises:
        UsageError: `conflicts` is not a rule of `take_in`.
        GalleryError: a file is missing or damaged, or `out` exists or cannot be written.
        BundleError, EngineError: the bundle cannot be used.
    """
    manifest = bundle.manifest
    whole = _Embedding(bundle, engine, progress)
    intakes: list[Intake] = []
    growing: list[Path] = []
    with new_file(out, manifest.fingerprint, manifest.embedding_width) as new:
        for number, file in enumerate(files):
            growing.append(out.with_name(f"{out.name}.{number}.importing"))
            with Gallery.open_any(file) as other, whole.of(other, growing[-1]) as source:
                intakes.append(take_in(new, stored(source), "merge", file.name, conflicts))
    for path in growing:
        delete(path)
    return _sum(out, intakes, whole)


class _Embedding:
    """Opens galleries as galleries of the bundle's model; loads the model only where it has to."""

    def __init__(self, bundle: Bundle, engine: str | None, progress: Count) -> None:
        self._bundle = bundle
        self._name = engine
        self._progress = progress
        self.moved = self.lost = 0

    def of(self, other: Gallery, growing: Path) -> Gallery:
        """Return a gallery of the bundle's model with what `other` holds: itself, or `growing`."""
        manifest = self._bundle.manifest
        if other.fingerprint == manifest.fingerprint:
            return Gallery.open(other.path, manifest.fingerprint, manifest.embedding_width, read_only=True)
        runner, _ = open_engine(self._bundle, self._name)
        moved, lost = embed_again(other, growing, manifest, runner, self._progress)
        self.moved += moved
        self.lost += lost
        return Gallery.open(growing, manifest.fingerprint, manifest.embedding_width, read_only=True)


def _sum(path: Path, intakes: Sequence[Intake], whole: _Embedding) -> Merged:
    changes = [intake.change for intake in intakes]
    return Merged(
        path,
        added=sum(c.added for c in changes),
        duplicates=sum(c.skipped for c in changes),
        removed=sum(c.removed for c in changes),
        gone=sum(c.gone for c in changes),
        embedded=whole.moved,
        lost=whole.lost,
        conflicts=tuple(c for intake in intakes for c in intake.conflicts),
        classes=dict(changes[-1].classes) if changes else {},
    )
