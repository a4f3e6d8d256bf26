"""Decode a data set's images, in threads and in order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from tlc_edge.runtime.bundle.manifest import Preprocessing
from tlc_edge.runtime.errors import ImageError
from tlc_edge.runtime.images.load import load_image, source_name
from tlc_edge.runtime.progress import Count

from .records import Sample, Skipped, refuse
from .seen import Seen
from .views import PLAIN

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
    return _decode(samples, lambda sample: _decode_one(sample, spec), workers)


def _decode(
    samples: Sequence[Sample], one: Callable[[Sample], NDArray[np.uint8] | Skipped], workers: int | None = None
) -> Iterator[tuple[int, NDArray[np.uint8] | Skipped]]:
    threads = workers or min(8, os.cpu_count() or 1)
    waiting: deque[tuple[int, Future[NDArray[np.uint8] | Skipped]]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for index, sample in enumerate(samples):
                waiting.append((index, pool.submit(one, sample)))
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
    """Images that were decoded before; those that nobody kept are decoded again by whoever looks at them.

    A sequence as an array [N, H, W, C] is one: it has a length, items, and is gone through in order.
    """

    def __init__(
        self, samples: Sequence[Sample], preprocessing: Preprocessing, seen: Seen | None = None, room: int = 0
    ) -> None:
        """Take those that `seen` has from there, and keep others in up to `room` bytes."""
        self._samples, self._preprocessing = samples, preprocessing
        self._seen = (Seen(room), *([] if seen is None else [seen]))
        self.shape = (len(samples), preprocessing.height, preprocessing.width, preprocessing.channels)

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        """Return an image, uint8 [H, W, C]; treat it as read-only.

        Raises:
            DataError: it has changed since and can no longer be read.
        """
        return _readable(self._image(self._samples[index]))

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        """Yield all images, in order; decoded in threads a few ahead.

        Raises:
            DataError: as in `__getitem__`.
        """
        for _, image in _decode(self._samples, self._image):
            yield _readable(image)

    def _image(self, sample: Sample) -> NDArray[np.uint8] | Skipped:
        for seen in self._seen:
            if (kept := seen.pixels(sample)) is not None:
                return kept
        image = _decode_one(sample, self._preprocessing)
        if not isinstance(image, Skipped):
            self._seen[0].keep(sample, PLAIN, image)
        return image


Images = NDArray[np.uint8] | Undecoded
"""Images [N, H, W, C], in memory or not."""


def _readable(image: NDArray[np.uint8] | Skipped) -> NDArray[np.uint8]:
    if isinstance(image, Skipped):
        raise refuse([image])
    return image


def bounded_images(samples: Sequence[Sample], preprocessing: Preprocessing, seen: Seen | None = None) -> Images:
    """Return images that were decoded before: up to `IN_MEMORY` bytes stay in memory, more are decoded when looked at.

    Where there is a `seen`, all that it lacks are decoded when somebody looks at them.

    Raises:
        DataError: one has changed since and can no longer be read; where they are not in memory, when it is looked at.
    """
    size = preprocessing.height * preprocessing.width * preprocessing.channels
    small = len(samples) * size <= IN_MEMORY
    if small and seen is None:
        return images_of(samples, preprocessing)
    return Undecoded(samples, preprocessing, seen, IN_MEMORY if small else 0)


def images_of(samples: Sequence[Sample], preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """Decode images that were decoded before, [N, H, W, C].

    Raises:
        DataError: one has changed since and can no longer be read.
    """
    return decode_all(samples, preprocessing, strict=True)[1]
