"""Migrate a gallery to another bundle: what people taught the old model is shown to the new one."""

from __future__ import annotations

import filecmp
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from tlc_edge.runtime.bundle.bundle import Bundle
from tlc_edge.runtime.bundle.manifest import Manifest
from tlc_edge.runtime.engines.open import Engine, open_engine
from tlc_edge.runtime.errors import GalleryError, ImageError
from tlc_edge.runtime.files import sync_folder, writing
from tlc_edge.runtime.images.load import load_image
from tlc_edge.runtime.progress import Count, silent
from tlc_edge.runtime.vectors import quantize_row

from .file import has_log
from .gallery import Gallery
from .limits import Limits, write_limits
from .path import default_gallery
from .receiver import StoredExample
from .transfer import delete, finish, put_in_place, stored, take_in

_PORTION = 8  # examples embedded for each transaction; a kill costs no more than these


@dataclass(frozen=True)
class Migration:
    """What a migration did."""

    path: Path
    kept: Path
    """The old gallery, under its new name."""
    moved: int
    lost: int
    """Examples enrolled without a thumbnail, which no other model can learn from."""
    classes: dict[str, int]


def migrate(
    bundle: Bundle,
    gallery: Path | None = None,
    engine: str | None = None,
    progress: Count = silent,
) -> Migration:
    """Embed the thumbnails of a gallery with `bundle`'s model, and put the result in the gallery's place.

    The old file stays, renamed. The new one grows beside it and takes its place at the end, so a migration
    that is stopped at any moment has changed nothing, and goes on where it was when run again. Examples
    enrolled meanwhile come along. Undo does not reach back over a migration.

    Raises:
        GalleryError: there is no gallery, it belongs to this model already, or it is in use.
        BundleError, EngineError: the bundle cannot be used.
    """
    path = gallery if gallery is not None else default_gallery(bundle.path)
    manifest = bundle.manifest
    growing = path.with_name(f"{path.name}.{manifest.fingerprint[:12]}.migrating")
    with Gallery.open_any(path) as old:
        if old.fingerprint == manifest.fingerprint:
            raise GalleryError(f"{path}: belongs to this bundle's model already, nothing to migrate")
        fingerprint, limits = old.fingerprint, old.limits()
        runner, _ = open_engine(bundle, engine)
        moved, lost = embed_again(old, growing, manifest, runner, progress)
    with Gallery.open(growing, manifest.fingerprint, manifest.embedding_width) as new:
        finish(new, limits)
        classes = new.classes()
    if has_log(path):
        raise GalleryError(f"{path}: in use by another process; stop it and run this again, it goes on where it was")
    kept = _keep(path, fingerprint)
    put_in_place(growing, path)
    return Migration(path, kept, moved, lost, classes)


def embed_again(
    old: Gallery, growing: Path, manifest: Manifest, runner: Engine, progress: Count = silent
) -> tuple[int, int]:
    """Bring the gallery `growing` to hold what `old` holds, embedded by another model.

    What it holds already, from a run that was stopped, is not embedded again. Return how many examples it
    holds and how many had no thumbnail that can be read.

    Raises:
        GalleryError: a file is damaged or cannot be written.
    """
    wanted = {(e.label, e.sha256) for e in old.examples()}
    moved, lost, last = 0, 0, 0
    if growing.is_symlink() or (growing.exists() and not _held(growing, manifest) <= wanted):
        delete(growing)  # forgotten or renamed since: begin again
    with Gallery.open(growing, manifest.fingerprint, manifest.embedding_width, create=True) as new:
        with new.writing() as db:
            write_limits(db, Limits(0, 0))
        there = {(e.label, e.sha256) for e in new.examples()}
        while portion := list(stored(old, last, _PORTION)):
            last = portion[-1].id
            fresh = [e for e in portion if (e.label, e.sha256) not in there]
            embedded = [e for e in (_embedded(e, manifest, runner) for e in fresh) if e is not None]
            take_in(new, embedded, "migrate", "", "both")
            lost += len(fresh) - len(embedded)
            moved += len(portion) - (len(fresh) - len(embedded))
            progress(moved + lost, max(len(wanted), moved + lost))
    return moved, lost


def _embedded(example: StoredExample, manifest: Manifest, runner: Engine) -> StoredExample | None:
    """Return the example as the other model sees it; None where it has no thumbnail that can be read."""
    if example.thumbnail is None:
        return None
    try:
        pixels = load_image(example.thumbnail, manifest.preprocessing, name=example.name)
    except ImageError:
        return None
    vector = runner.run(pixels)[-1]
    row, scale = quantize_row(vector)
    return example._replace(vector=row.tobytes(), scale=scale)


def _held(path: Path, manifest: Manifest) -> set[tuple[str, str]]:
    with Gallery.open(path, manifest.fingerprint, manifest.embedding_width, create=True) as gallery:
        return {(e.label, e.sha256) for e in gallery.examples()}


def _keep(path: Path, fingerprint: str) -> Path:
    """Give the old file a second name, so that there is no moment without a gallery; return it.

    Raises:
        GalleryError: the disk refuses.
    """
    names = (f"{path.name}.{fingerprint[:12]}{n}" for n in ("", *(f".{i}" for i in range(2, 1000))))
    try:
        for kept in map(path.with_name, names):
            # A stopped run may have been here already.
            if kept.exists() and not (kept.samefile(path) or filecmp.cmp(kept, path, shallow=False)):
                continue
            if not kept.exists():
                _link(path, kept)
            return kept
    except OSError as e:
        raise GalleryError(f"{path}: cannot be replaced ({e.strerror or e}); the old gallery is untouched") from None
    raise GalleryError(f"{path}: cannot be replaced, too many old ones lie beside it; move some away")


def _link(path: Path, kept: Path) -> None:
    try:
        os.link(path, kept)
        sync_folder(kept.parent)
    except OSError:  # a file system without hard links, such as FAT on a memory card
        with writing(kept, like=path) as out, path.open("rb") as old:
            shutil.copyfileobj(old, out)
