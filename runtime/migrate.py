"""Migrate a gallery to another bundle: what people taught the old model is shown to the new one."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np

from .bundle import Bundle
from .classifier import default_gallery
from .engines import Engine, open_engine
from .errors import GalleryError, ImageError
from .gallery import Example, ExampleSource, Gallery
from .gallery_file import connect
from .images import load_image
from .manifest import Manifest
from .progress import Count, silent


@dataclass(frozen=True)
class Migration:
    """What a migration did."""

    path: Path
    kept: Path
    """The old gallery, under its new name."""
    moved: int
    lost: int
    """Examples without a thumbnail, or with a damaged one, which no other model can learn from."""
    classes: dict[str, int]


def migrate(
    bundle: Bundle,
    gallery: Path | None = None,
    engine: str | None = None,
    progress: Count = silent,
) -> Migration:
    """Embed the thumbnails of a gallery with `bundle`'s model, and put the result in the gallery's place.

    The old file stays, renamed. The new one grows beside it and takes its place at the end, so a migration
    that is stopped at any moment has changed nothing, and goes on where it was when run again.

    Raises:
        GalleryError: there is no gallery, it belongs to this model already, or another process uses it.
        BundleError, EngineError: the bundle cannot be used.
    """
    path = gallery if gallery is not None else default_gallery(bundle.path)
    manifest = bundle.manifest
    growing = path.with_name(f"{path.name}.{manifest.fingerprint[:12]}.migrating")
    with Gallery.open_any(path) as old:
        if old.fingerprint == manifest.fingerprint:
            raise GalleryError(f"{path}: belongs to this bundle's model already, nothing to migrate")
        runner, _ = open_engine(bundle, engine)
        examples = old.examples()
        _drop_outdated(growing, manifest, examples)
        with Gallery.open(growing, manifest.fingerprint, manifest.embedding_width, create=True) as new:
            lost = _embed(old, new, examples, runner, manifest, progress)
            classes = new.classes()
        kept = _free_name(path, old.fingerprint)
    with _alone(path):
        try:
            _keep(path, kept)
            growing.replace(path)
        except OSError as e:
            raise GalleryError(
                f"{path}: cannot be replaced ({e.strerror or e}); the old gallery is untouched"
            ) from None
    return Migration(path, kept, len(examples) - lost, lost, classes)


def _embed(
    old: Gallery, new: Gallery, examples: Sequence[Example], runner: Engine, manifest: Manifest, progress: Count
) -> int:
    """Add to `new` what it lacks of the old gallery's examples; return how many cannot be brought over."""
    there = {(e.label, e.sha256) for e in new.examples()}
    lost = done = 0
    for label, group in groupby(examples, key=lambda e: e.label):
        vectors, sources = [], []
        for example in group:
            done += 1
            progress(done, len(examples))
            if (label, example.sha256) in there:
                continue
            thumbnail = old.thumbnail(example.id)
            try:
                pixels = None if thumbnail is None else load_image(thumbnail, manifest.preprocessing)
            except ImageError:
                pixels = None
            if pixels is None:
                lost += 1
                continue
            vectors.append(runner.run(pixels)[-1])
            sources.append(ExampleSource(example.sha256, example.source_name, thumbnail))
        if vectors:
            new.add(label, np.stack(vectors), sources)
    return lost


def _drop_outdated(growing: Path, manifest: Manifest, examples: Sequence[Example]) -> None:
    """Start again where an earlier migration was stopped and what it had moved was forgotten or renamed since."""
    if not growing.exists():
        return
    wanted = {(e.label, e.sha256) for e in examples}
    found = Gallery.open_if_exists(growing, manifest.fingerprint, manifest.embedding_width)
    if found is None:
        return
    with found:
        current = wanted.issuperset((e.label, e.sha256) for e in found.examples())
    if not current:
        growing.unlink()


@contextlib.contextmanager
def _alone(path: Path) -> Generator[None]:
    """Hold a gallery against every other process, its write-ahead log taken in and gone.

    A log that stayed would be taken for the new file's; a process that went on writing, into the old one.
    """
    db, _ = connect(path, create=False, read_only=False)
    with contextlib.closing(db):
        try:
            # SQLite leaves the log only when no one else has the file open.
            alone = db.execute("PRAGMA journal_mode = DELETE").fetchone()[0] == "delete"
            if alone:
                db.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError:
            alone = False
        if not alone:
            raise GalleryError(f"{path}: in use by another process; stop it and run this again, nothing was changed")
        yield


def _free_name(path: Path, fingerprint: str) -> Path:
    """Return the name to keep the old gallery under; a link that a stopped migration made is used again."""
    plain = path.with_name(f"{path.name}.{fingerprint[:12]}")
    name, number = plain, 1
    while name.exists() and not name.samefile(path):
        number += 1
        name = plain.with_name(f"{plain.name}.{number}")
    return name


def _keep(path: Path, kept: Path) -> None:
    """Give the old file a second name, so that there is no moment without a gallery."""
    if kept.exists():
        return
    try:
        os.link(path, kept)
    except OSError:  # a file system without hard links, such as FAT on a memory card
        part = kept.with_name(f"{kept.name}.part")
        shutil.copy2(path, part)
        part.replace(kept)
