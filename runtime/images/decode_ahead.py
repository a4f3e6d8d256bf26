"""Images decoded ahead, in threads, while the engine works on those before them."""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Generator, Iterable
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tlc_edge.runtime.bundle.manifest import Preprocessing
from tlc_edge.runtime.errors import ImageError

from .load import Source, load_timed, read_bytes, source_name

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

_MOST_THREADS = 4


class Decoded(NamedTuple):
    """An image at the model's input size, and the milliseconds that decoding and resizing took."""

    pixels: NDArray[np.uint8]
    decode: float
    resize: float


def decode(
    source: Source, spec: Preprocessing, order: str = "RGB", name: str | None = None, memory: int = 0
) -> Decoded:
    """Load one image and say how long it took.

    Raises:
        ImageError, BundleError: as `load_image`.
    """
    start = perf_counter()
    pixels, decoded = load_timed(source, spec, order, name, memory)
    return Decoded(pixels, (decoded - start) * 1e3, (perf_counter() - decoded) * 1e3)


def decode_ahead(
    images: Iterable[Source], spec: Preprocessing, order: str, memory: int = 0
) -> Generator[Decoded | ImageError]:
    """Yield every image decoded, or the error where one cannot be read, in the order in which they came.

    What the caller could change or close before its turn comes (an array, a PIL image, an open file) is
    taken at once, so the iterable may hand out the same buffer again and again. Only files and bytes wait.
    At most twice as many images as threads are held. An error of the iterable itself comes after
    everything that it gave before.
    """
    from concurrent.futures import ThreadPoolExecutor  # 10 ms that opening a bundle need not wait for

    threads = max(1, min(_MOST_THREADS, os.cpu_count() or 1))
    waiting: deque[Future[Decoded] | Decoded | ImageError] = deque()
    pool = ThreadPoolExecutor(threads, "decode")
    broken: Exception | None = None
    try:
        source = iter(images)
        while True:
            try:
                image = next(source)
            except StopIteration:
                break
            except Exception as e:
                broken = e
                break
            if _may_block(image):
                while waiting:  # whoever waits for a pipe has what came before it
                    yield _result(waiting.popleft())
            waiting.append(_take(image, spec, order, pool, memory))
            if len(waiting) == 2 * threads:
                yield _result(waiting.popleft())
        while waiting:
            yield _result(waiting.popleft())
        if broken is not None:
            raise broken
    finally:
        # A picture that is being decoded is finished: its thread must not outlive the caller's interest.
        pool.shutdown(wait=True, cancel_futures=True)


def _take(
    image: Source, spec: Preprocessing, order: str, pool: ThreadPoolExecutor, memory: int
) -> Future[Decoded] | Decoded | ImageError:
    try:
        if isinstance(image, np.ndarray):
            pixels = cast("NDArray[Any]", image)
            if pixels.shape[:2] == (spec.height, spec.width):
                loaded = decode(pixels, spec, order)
                return Decoded(loaded.pixels.copy(), loaded.decode, loaded.resize)
            return pool.submit(decode, pixels.copy(), spec, order)
        if isinstance(image, Image.Image):
            return decode(image, spec, order, memory=memory)
        name = source_name(image)
        # What may block is read here: only the main thread hears Ctrl-C.
        data = read_bytes(image, name) if _may_block(image) else image
        return pool.submit(decode, data, spec, order, name, memory)
    except ImageError as e:
        return e


def _result(one: Future[Decoded] | Decoded | ImageError) -> Decoded | ImageError:
    if isinstance(one, Decoded | ImageError):
        return one
    try:
        return one.result()
    except ImageError as e:
        return e


def _may_block(image: Source) -> bool:
    """Return whether reading it may wait for ever, or must not be put off: a pipe, a device, an open file."""
    if isinstance(image, bytes | np.ndarray | Image.Image):
        return False
    if not isinstance(image, str | os.PathLike):
        return True
    try:
        return not stat.S_ISREG(os.stat(image).st_mode)  # noqa: PTH116 - Path refuses some names before it looks
    except (OSError, ValueError):
        return True  # soon told
