"""Images without labels, as words on a command line name them: they compare models, and no accuracy counts them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from tlc_edge.runtime.bundle.manifest import Preprocessing
from tlc_edge.runtime.errors import DataError, ImageError
from tlc_edge.runtime.images.load import load_image
from tlc_edge.runtime.images.named import Named, named_images

from .records import Dataset, Sample, Skipped, refuse


def unlabelled(words: Sequence[str], spec: Preprocessing, *, strict: bool = False, limit: int | None = None) -> Dataset:
    """Read the images that words stand for, the first `limit` of them, at a model's input size.

    Raises:
        DataError: none can be read; or, with `strict`, not every one.
    """
    samples: list[Sample] = []
    skipped: list[Skipped] = []
    for one in islice(named_images(words), limit):
        read = _read(one, spec)
        if isinstance(read, Skipped):
            skipped.append(read)
        else:
            samples.append(Sample(read, "", None, one.name))
    if skipped and (strict or not samples):
        raise refuse(skipped)
    if not samples:
        raise DataError("no images; give files, or labelled ones with --data")
    count = "1 image" if len(samples) == 1 else f"{len(samples)} images"
    note = f"{count} without labels: they compare the models; for an accuracy give labelled ones: --data SRC"
    return Dataset(tuple(samples), (), tuple(skipped), " ".join(words)[:80], (note,))


def _read(one: Named, spec: Preprocessing) -> NDArray[np.uint8] | Skipped:
    try:
        return load_image(one.source, spec, name=one.name)
    except ImageError as e:
        return Skipped(one.name, str(e).removeprefix(f"{one.name}: "))
