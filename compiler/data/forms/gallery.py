"""What was taught on a device is data: the thumbnails of a gallery, with the labels they have there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tlc_edge.compiler.data.records import Origin, Reading, Sample, Skipped
from tlc_edge.runtime.errors import DataError
from tlc_edge.runtime.files import file_sha256
from tlc_edge.runtime.gallery.gallery import Gallery
from tlc_edge.runtime.gallery.transfer import stored
from tlc_edge.runtime.labels import NONE_OF_THESE

from .embedded import Embedded, take_embedded

EXPECTED = "a .gallery"
SUFFIXES: tuple[str, ...] = (".gallery",)


def claims(origin: Origin) -> bool:
    """Return whether there is a file with the name of one."""
    path = Path(origin.data)
    return path.suffix.lower() in SUFFIXES and path.is_file()


def read(reading: Reading) -> list[Sample]:
    """Return the examples that were kept with a thumbnail, whatever model they were enrolled with.

    Raises:
        GalleryError: it is damaged, too new, or empty.
        DataError: no example has a thumbnail.
    """
    path = Path(reading.origin.data)
    samples = take_embedded(_examples(path, reading), file_sha256(path), reading)
    lost = sum(skipped.reason == _WITHOUT for skipped in reading.skipped)
    if lost and not samples:
        raise DataError(f"{path}: none of its {lost} examples has a thumbnail, so there is nothing to train on")
    reading.recognised.append(f"what was taught on a device, {len(samples)} thumbnails")
    return samples


_WITHOUT = "enrolled without a thumbnail"
_OF_NO_CLASS = "enrolled as what must not pass, so of no class"


def _examples(path: Path, reading: Reading) -> Iterator[Embedded]:
    with Gallery.open_any(path) as gallery:
        for example in stored(gallery):
            name = f"{example.label}/{example.id}-{Path(example.name).name}"
            if example.label == NONE_OF_THESE:
                reading.skipped.append(Skipped(name, _OF_NO_CLASS))
            elif example.thumbnail is None:
                reading.skipped.append(Skipped(name, _WITHOUT, example.label))
            else:
                yield Embedded(example.thumbnail, example.label, None, name, example.sha256)
