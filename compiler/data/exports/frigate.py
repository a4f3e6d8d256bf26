"""Frigate's folder of a classification model: `dataset/CLASS`, and `train/` with images that wait for a label.

https://docs.frigate.video/configuration/custom_classification/object_classification
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tlc_edge.compiler.data.forms.listing import Row
from tlc_edge.runtime.images.walk import folders_in, holds_images, images_below

from .found import Found

NAME = "Frigate's folder of a model (dataset/CLASS; what waits in train/ has no label)"


def find(path: Path) -> Found | None:
    """Return the folder at a path."""
    dataset, train = path / "dataset", path / "train"
    if not (dataset.is_dir() and train.is_dir()) or any(map(holds_images, folders_in(train))):
        return None
    if any(holds_images(other) for other in folders_in(path) if other not in (dataset, train)):
        return None
    full = [folder for folder in folders_in(dataset) if holds_images(folder)]
    return Found(path, tuple(full)) if len(full) > 1 else None


def rows(found: Found) -> Iterator[Row]:
    """Yield the images that have a label."""
    for folder in found.files:
        for image in images_below(folder):
            yield Row(image.relative_to(found.root).as_posix(), folder.name)
