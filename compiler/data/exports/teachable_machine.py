"""Teachable Machine's projects, whose images are called `CLASS-!-N.jpg`; `archive` reads its samples of a class."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tlc_edge.compiler.data.forms.listing import Row
from tlc_edge.runtime.images.walk import loose_images

from .found import Found

NAME = "Teachable Machine's project (CLASS-!-N)"
_MARK = "-!-"


def find(path: Path) -> Found | None:
    """Return the project at a path."""
    if not path.is_dir():
        return None
    images = loose_images(path)
    return Found(path, tuple(images)) if images and all(_MARK in image.name for image in images) else None


def rows(found: Found) -> Iterator[Row]:
    """Yield its images."""
    for image in found.files:
        yield Row(image.name, image.name.rpartition(_MARK)[0])
