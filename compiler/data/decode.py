"""Decode a data set's images, in threads and in order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from tlc_edge.runtime.bundle.manifest import Preprocessing
from tlc_edge.runtime.errors import ImageError
from tlc_edge.runtime.images.load import load_image, source_name
from tlc_edge.runtime.progress import Count

from .records import Sample, Skipped, refuse

IN_MEMORY = 250_000_000
"""Bytes of images that are kept decoded for all who look at them: 1,660 of 224 pixels a side. More are decoded again by
each, which costs less than their memory."""


def decode(
    samples: Sequence[Sample], spec: Preprocessing, workers: int | None = None
) -> Iterator[tuple[int, NDArray[np.uint8] | Skipped]]:
    """Yield each sample's index and its image, uint8 [H, W, C], or why it has none; in order.

    Decodes in threads (Pillow releases the interpreter lock) a few images ahead of the reader, so
    that memory does not grow with the data set.
    """
    threads = workers or min(8, os.cpu_count() or 1)
    waiting: deque[tuple[int, Future[NDArray[np.uint8] | Skipped]]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for index, sample in enumerate(samples):
                waiting.append((index, pool.submit(_decode_one, sample, spec)))
                if len(waiting) > 4 * threads:
                    done, future = waiting.popleft()
                    yield done, future.result()
            while waiting:
                done, future = waiting.popleft()
                yield done, future.result()
        finally:
            for _, future in waiting:
                future.cancel()


def decode_all(
    samples: Sequence[Sample],
    spec: Preprocessing,
    workers: int | None = None,
    *,
    strict: bool = False,
    progress: Count | None = None,
) -> tuple[list[Sample], NDArray[np.uint8], list[Skipped]]:
    """Return the samples that can be decoded, their images uint8 [N, H, W, C], and the others.

    `progress` is called with the number done and the number of all after each image.

    Raises:
        DataError: no image can be decoded; or, with `strict`, not every one can.
    """
    kept: list[Sample] = []
    skipped: list[Skipped] = []
    images = np.empty((len(samples), spec.height, spec.width, spec.channels), np.uint8)
    for index, image in decode(samples, spec, workers):
        if isinstance(image, Skipped):
            skipped.append(image)
        else:
            images[len(kept)] = image
            kept.append(samples[index])
        if progress is not None:
            progress(index + 1, len(samples))
    if skipped and (strict or not kept):
        raise refuse(skipped)
    return kept, images[: len(kept)], skipped


def unreadable(sample: Sample, error: ImageError) -> Skipped:
    """Return the record of a sample whose image cannot be read; the reason goes without the source's name."""
    return Skipped(sample.name, str(error).removeprefix(f"{source_name(sample.source)}: "), sample.label)


def _decode_one(sample: Sample, spec: Preprocessing) -> NDArray[np.uint8] | Skipped:
    try:
        return load_image(sample.source, spec)
    except ImageError as e:
        return unreadable(sample, e)


class Undecoded:
    """Images that were decoded before and are decoded again by whoever looks at them: a few are in memory at a time.

    A sequence as an array [N, H, W, C] is one: it has a length, items, and is gone through in order.
    """

    def __init__(self, samples: Sequence[Sample], preprocessing: Preprocessing) -> None:
        self._samples, self._preprocessing = samples, preprocessing
        self.shape = (len(samples), preprocessing.height, preprocessing.width, preprocessing.channels)

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        """Return an image, uint8 [H, W, C].

        Raises:
            DataError: it has changed since and can no longer be read.
        """
        return _readable(_decode_one(self._samples[index], self._preprocessing))

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        """Yield all images, in order; decoded in threads a few ahead.

        Raises:
            DataError: as in `__getitem__`.
        """
        for _, image in decode(self._samples, self._preprocessing):
            yield _readable(image)


Images = NDArray[np.uint8] | Undecoded
"""Images [N, H, W, C], in memory or not."""


def _readable(image: NDArray[np.uint8] | Skipped) -> NDArray[np.uint8]:
    if isinstance(image, Skipped):
        raise refuse([image])
    return image


def bounded_images(samples: Sequence[Sample], preprocessing: Preprocessing) -> Images:
    """Return images that were decoded before: in memory up to `IN_MEMORY` bytes, else to be decoded when looked at.

    Raises:
        DataError: one has changed since and can no longer be read; where they are not in memory, when it is looked at.
    """
    size = preprocessing.height * preprocessing.width * preprocessing.channels
    small = len(samples) * size <= IN_MEMORY
    return images_of(samples, preprocessing) if small else Undecoded(samples, preprocessing)


def images_of(samples: Sequence[Sample], preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """Decode images that were decoded before, [N, H, W, C].

    Raises:
        DataError: one has changed since and can no longer be read.
    """
    return decode_all(samples, preprocessing, strict=True)[1]
