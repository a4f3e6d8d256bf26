"""Read images of anything that a bundle is not meant to know, to count how often it says that it does."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tlc_edge.runtime.errors import DataError
from tlc_edge.runtime.images.load import source_name
from tlc_edge.runtime.images.walk import images_below

from .load import load_dataset
from .records import Sample

MOST = 300
"""Images that are used; more would cost time and tell little."""


def load_foreign(source: str) -> list[Sample]:
    """Return at most MOST images, evenly over the source's order; none is decoded yet.

    A folder gives every image in it, at any depth and in no order of classes; else it is what `--data` takes.

    Raises:
        DataError: there are none.
    """
    root = Path(source)
    if root.is_dir():
        try:
            paths = images_below(root)
        except OSError as e:
            raise DataError(f"{root}: cannot be read ({e.strerror or e})") from None
        samples = [Sample(path, "", None, source_name(path.relative_to(root).as_posix())) for path in paths]
    else:
        samples = list(load_dataset(source).samples)
    if not samples:
        raise DataError(f"{source}: no images in it; give a folder of images of anything that is not in the data")
    return [samples[i] for i in np.unique(np.linspace(0, len(samples) - 1, MOST).astype(np.int64)).tolist()]
