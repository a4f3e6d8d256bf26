"""Boxes of things in photos: with `--crop boxes` each becomes an image; those of one photo stay together."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageOps

from tlc_edge.compiler.data.records import Reading, Sample, Skipped
from tlc_edge.runtime.errors import DataError, ImageError
from tlc_edge.runtime.files import file_sha256
from tlc_edge.runtime.images.load import MAX_PIXELS
from tlc_edge.runtime.images.quiet_pillow import quiet_pillow

from .embedded import Made
from .listing import Finder

_FAR = 1_000_000  # beyond every photo
SMALLEST = 8
"""Pixels of the shorter side below which a box shows nothing."""


@dataclass(frozen=True)
class Box:
    """A thing in a photo; edges in pixels of the photo as it is shown, upright, or in shares of its sides."""

    path: str
    label: str
    left: float
    top: float
    right: float
    bottom: float
    split: str | None
    shares: bool = False


def crop_boxes(boxes: Iterable[Box], finder: Finder, what: str, reading: Reading) -> list[Sample]:
    """Return an image for each box; photos that cannot be read, and boxes that are too small, are skipped.

    Each photo is decoded once, and its crops are kept as PNG beside the cache.

    Raises:
        DataError: nobody asked for crops. A photo with several things in it is no image of one class.
    """
    of_photo: dict[str, list[Box]] = {}
    for box in boxes:
        of_photo.setdefault(box.path, []).append(box)
    if of_photo and reading.origin.crop != "boxes":
        count = sum(map(len, of_photo.values()))
        raise DataError(
            f"{what}: {count} boxes in {len(of_photo)} photos, which have no class as a whole; "
            "--crop boxes makes each box an image"
        )
    samples: list[Sample] = []
    for i, (name, own) in enumerate(of_photo.items()):
        path = finder.find(name)
        if path is None:
            reading.skipped.append(Skipped(name, finder.missing(name)))
        else:
            samples += _crop(path, name.replace("\\", "/"), own, reading)
        reading.progress(i + 1, len(of_photo))
    reading.notes.extend(finder.note(what))
    return samples


def _crop(path: Path, name: str, boxes: list[Box], reading: Reading) -> list[Sample]:
    made = Made(reading, file_sha256(path))
    photo: Image.Image | None = None
    samples: list[Sample] = []
    for i, box in enumerate(boxes):
        of = f"{name}[{i}]"
        given = (box.left, box.top, box.right, box.bottom)
        if not all(map(math.isfinite, given)):
            reading.skipped.append(Skipped(of, "a box whose edges are no numbers", box.label))
            continue
        # What a crop is kept under: pixels, or millionths of the photo's sides.
        steps = [round(min(max(edge * 1e6 if box.shares else edge, -_FAR), _FAR)) for edge in given]
        kept = made.path(f"{'-'.join(map(str, steps))}{'-shares' if box.shares else ''}.png")
        if not kept.exists():
            try:
                photo = photo or _open(path)
            except ImageError as e:
                reading.skipped.append(Skipped(name, str(e)))
                return []
            sides = (photo.width, photo.height) * 2 if box.shares else (1,) * 4
            edges = [round(min(max(edge * side, -_FAR), _FAR)) for edge, side in zip(given, sides, strict=True)]
            left, top = max(0, edges[0]), max(0, edges[1])
            right, bottom = min(photo.width, edges[2]), min(photo.height, edges[3])
            if min(right - left, bottom - top) < SMALLEST:
                reading.skipped.append(Skipped(of, f"a box of less than {SMALLEST} pixels", box.label))
                continue
            out = io.BytesIO()
            photo.crop((left, top, right, bottom)).save(out, "PNG", compress_level=1)
            made.keep(kept.name, out.getvalue())
        samples.append(Sample(kept, box.label.strip(), box.split, of, group=name))
    return samples


def _open(path: Path) -> Image.Image:
    """Return a photo upright in RGB.

    Raises:
        ImageError: it cannot be read.
    """
    try:
        with quiet_pillow(), Image.open(path) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ImageError(f"more pixels than the limit of {MAX_PIXELS}")
            return ImageOps.exif_transpose(image).convert("RGB")
    except ImageError:
        raise
    except Exception as e:  # Pillow's readers raise whatever a damaged file leads them into
        raise ImageError(f"damaged, or no image that is known here ({e or type(e).__name__})") from None
