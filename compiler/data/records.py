"""What a data set is, however it was written down: labelled images that are not decoded yet."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tlc_edge.runtime.errors import DataError
from tlc_edge.runtime.progress import Count

SPLITS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
    "holdout": "test",
}
"""What a CSV's split column may say, and what it means; folders: `split_folders`."""


@dataclass(frozen=True, eq=False)
class Sample:
    """One labelled image, not decoded yet."""

    source: os.PathLike[str] | NDArray[np.uint8]
    """A path, also one that is fetched when it is opened; or the image itself."""
    label: str
    split: str | None
    """`train`, `validation` or `test` where the data set says so."""
    name: str
    """Unique in its data set, the same on every machine; for messages and reports."""
    group: str | None = None
    """What it was cut out of: images of one group stay on one side of the split."""
    sha256: str | None = None
    """Of the image that it was made from; None: of its own bytes."""


@dataclass(frozen=True, eq=False)
class Skipped:
    """A file that was meant to be an image of the data set but cannot be used."""

    name: str
    reason: str
    label: str | None = None


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled images of at least two classes, in an order that does not depend on the file system."""

    samples: tuple[Sample, ...]
    labels: tuple[str, ...]
    skipped: tuple[Skipped, ...]
    origin: str
    notes: tuple[str, ...] = ()
    """What was assumed while reading, such as the range of the pixel values; a sentence each, for people."""
    recognised: str = ""
    """What the data were taken for, and how much they are; a line for people."""


@dataclass(frozen=True)
class Origin:
    """Where a data set is, and what must be known to read it."""

    data: str
    """Folder, `.csv`, `.npz`, archive, `http` or `https` address of the last two, or `sample:digits`."""
    labels: str | None = None
    """The labels of a pixel table."""
    shape: str | None = None
    """The shape of a pixel table's images, `H,W` or `H,W,C`."""
    checksum: str | None = None
    """`sha256:…` of what an address gives."""
    cache: str | None = None
    """Folder for downloads and unpacked archives, `off`, or None for the user's own."""
    encoding: str | None = None
    """Of the names in an archive and of the text of a `.csv` that are not UTF-8."""
    crop: str | None = None
    """`boxes`: make an image of each box where photos have boxes."""
    more: tuple[str, ...] = ()
    """Further sources of the same data set, read after `data`."""


@dataclass(frozen=True, eq=False)
class Reading:
    """A data set while it is read: where it is, what a form may need, and what it leaves beside the samples."""

    origin: Origin
    expected: str
    """What may be given, for an error."""
    limit: int | None
    """Images that are wanted at most; a form that reads row by row may stop there."""
    progress: Count
    """Called with kibibytes where there is something to download."""
    read_other: Callable[[Reading], list[Sample]]
    """Reads a data set of any form: for what holds or gives another one."""
    skipped: list[Skipped] = field(default_factory=list[Skipped])
    notes: list[str] = field(default_factory=list[str])
    recognised: list[str] = field(default_factory=list[str])
    """What the data were taken for, without their name."""
    within: Path | None = None
    """Of what comes out of an archive: the folder that nothing may lie outside of."""

    def existing(self, name: str) -> Path:
        """Return the path of a file or folder that there is.

        Raises:
            DataError: there is none.
        """
        path = Path(name)
        if not path.exists():
            raise DataError(f"{name}: no such file or folder; give {self.expected}")
        return path


def refuse(skipped: Sequence[Skipped]) -> DataError:
    """Return the error that names the first of the files that cannot be used, and how many there are."""
    first = skipped[0]
    more = f"; {len(skipped)} such files in all" if len(skipped) > 1 else ""
    return DataError(f"{first.name}: {first.reason}{more}; mend or remove what cannot be used")
