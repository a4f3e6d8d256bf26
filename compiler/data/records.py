"""What a data set is, however it was written down: labelled images that are not decoded yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tlc_edge.runtime.errors import DataError

SPLITS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
"""What a CSV's split column or a folder may say, and what it means."""


@dataclass(frozen=True, eq=False)
class Sample:
    """One labelled image, not decoded yet."""

    source: Path | NDArray[np.uint8]
    label: str
    split: str | None
    """`train`, `validation` or `test` where the data set says so."""
    name: str
    """Unique in its data set, the same on every machine; for messages and reports."""


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


def refuse(skipped: Sequence[Skipped]) -> DataError:
    """Return the error that names the first of the files that cannot be used, and how many there are."""
    first = skipped[0]
    more = f"; {len(skipped)} such files in all" if len(skipped) > 1 else ""
    return DataError(f"{first.name}: {first.reason}{more}; mend or remove what cannot be used")
