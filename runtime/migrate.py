"""Migrate a gallery to another bundle: what people taught the old model is shown to the new one."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np

from .bundle import Bundle
from .classifier import default_gallery
from .engines import open_engine
from .errors import GalleryError
from .gallery import ExampleSource, Gallery
from .images import load_image
from .progress import Count, silent


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
    that is stopped at any moment has changed nothing, and goes on where it was when run again.

    Raises:
        GalleryError: there is no gallery, or it belongs to this model already.
        BundleError, EngineError: the bundle cannot be used.
    """
    path = gallery if gallery is not None else default_gallery(bundle.path)
    manifest = bundle.manifest
    with Gallery.open_any(path) as old:
        if old.fingerprint == manifest.fingerprint:
            raise GalleryError(f"{path}: belongs to this bundle's model already, nothing to migrate")
        kept = path.with_name(f"{path.name}.{old.fingerprint[:12]}")
        runner, _ = open_engine(bundle, engine)
        examples = old.examples()
        growing = path.with_name(f"{path.name}.migrating")
        moved = lost = done = 0
        with Gallery.open(growing, manifest.fingerprint, manifest.embedding_width, create=True) as new:
            there = {(e.label, e.sha256) for e in new.examples()}
            for label, group in groupby(examples, key=lambda e: e.label):
                vectors, sources = [], []
                for example in group:
                    done += 1
                    progress(done, len(examples))
                    thumbnail = old.thumbnail(example.id)
                    if thumbnail is None:
                        lost += 1
                        continue
                    moved += 1
                    if (label, example.sha256) not in there:
                        vectors.append(runner.run(load_image(thumbnail, manifest.preprocessing))[-1])
                        sources.append(ExampleSource(example.sha256, example.source_name, thumbnail))
                if vectors:
                    new.add(label, np.stack(vectors), sources)
            classes = new.classes()
    try:
        _keep(path, kept)
        growing.replace(path)
    except OSError as e:
        raise GalleryError(f"{path}: cannot be replaced ({e.strerror or e}); the old gallery is untouched") from None
    return Migration(path, kept, moved, lost, classes)


def _keep(path: Path, kept: Path) -> None:
    """Give the old file a second name, so that there is no moment without a gallery."""
    if kept.exists():
        raise FileExistsError(0, f"{kept.name} exists already, move it away")
    try:
        os.link(path, kept)
    except OSError:  # a file system without hard links, such as FAT on a memory card
        shutil.copy2(path, kept)
