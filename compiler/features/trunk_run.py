"""One pass of a trunk over a data set: what is cached is looked up, the rest read, decoded and run, in threads.

An image that is to be seen in several views is read and decoded once for all of them.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import queue
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import TypeGuard, TypeVar

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.cache.store import FeatureCache
from tlc_edge.compiler.data.decode import unreadable
from tlc_edge.compiler.data.records import Sample, Skipped
from tlc_edge.compiler.data.seen import Seen, digest_of
from tlc_edge.compiler.data.views import PLAIN, View
from tlc_edge.compiler.records import LoweredTrunk
from tlc_edge.runtime.bundle.manifest import Preprocessing
from tlc_edge.runtime.engines.open import KINDS, Engine, EngineKind, open_model
from tlc_edge.runtime.errors import ImageError
from tlc_edge.runtime.images.load import decode_image, read_bytes, source_name
from tlc_edge.runtime.images.nothing import SIDE, thumbnail

from .half import packed, rounded

T = TypeVar("T")

_FORMAT = 2  # rises when the same image would give other features, or other bytes in the cache
_DECODED = 200_000_000  # bytes of images that wait for the trunk
_WRITE_AFTER = 1.0  # seconds of work that a kill may lose


@dataclass(frozen=True, eq=False)
class TrunkFile:
    """A trunk as an engine runs it: one output, `features`."""

    fingerprint: str
    """A hash of all that decides the features of given pixels, but for the engine."""
    width: int
    load: Callable[[], LoweredTrunk]
    """Returns the file; called only when there is an image that is not in the cache, and lowers once at most."""
    kind: EngineKind


def trunk_file(file: LoweredTrunk, width: int) -> TrunkFile:
    """Return a lowered trunk of `width` features with the engine that its format runs in."""
    return TrunkFile(hashlib.sha256(file.data).hexdigest(), width, lambda: file, _kind(file.format))


def _kind(form: str) -> EngineKind:
    return next(kind for kind in KINDS if kind.format == form)


@dataclass(frozen=True, eq=False)
class Missed:
    """An image that is not in the cache. It is decoded: one that cannot be must not cost the lowering of a trunk."""

    key: bytes
    image: NDArray[np.uint8]
    thumbnail: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Computed:
    """A row that is not in the cache yet."""

    key: bytes
    row: bytes


Found = list[bytes | Computed | Missed] | Skipped
"""Of one image: what there is for each of its views."""
Asked = tuple[Sample, Sequence[View]]
"""An image, and the views that are wanted of it."""


class TrunkRun:
    """One pass over a data set; with `exact`, rows hold nothing but features, to the bit as the trunk gives them."""

    def __init__(
        self,
        file: TrunkFile,
        spec: Preprocessing,
        cache: FeatureCache | None,
        threads: int,
        images: int,
        *,
        seen: Seen | None = None,
        exact: bool = False,
    ) -> None:
        self.file, self.spec, self.cache = file, spec, cache
        self.seen = Seen() if seen is None else seen
        self.computed = 0
        self.pixels = spec.height * spec.width * spec.channels
        self._threads = min(threads or os.cpu_count() or 1, max(1, images))
        self._opened, self._exact = False, exact
        beside = 0 if exact else SIDE * SIDE * spec.channels
        self._sizes = [beside + size * file.width for size in (2, 4)]
        self._recipes: dict[str, bytes] = {}
        self._engines: queue.SimpleQueue[Engine] = queue.SimpleQueue()
        self._fresh: list[tuple[bytes, bytes]] = []
        self._written = time.monotonic()

    def rows(self, asked: Iterable[Asked]) -> Generator[list[bytes] | Skipped]:
        """Yield for each image its rows as the cache keeps them, one per view, or why there are none; in order."""
        return self._stream(asked, self._rows)

    def look(self, asked: Sequence[Asked]) -> Generator[Found]:
        """Yield of each image what there is without the trunk; in order."""
        with ThreadPoolExecutor(self._threads) as pool:
            waiting = [pool.submit(self._look_up, one) for one in asked]
            try:
                for future in waiting:
                    yield future.result()
            finally:
                for future in waiting:
                    future.cancel()

    def complete(self, found: list[Found]) -> Generator[list[bytes] | Skipped]:
        """Yield the rows of what `look` gave, which forgets it."""
        found.reverse()
        return self._stream((found.pop() for _ in range(len(found))), self._with_rows)

    def _stream(self, given: Iterable[T], rows: Callable[[T], Found]) -> Generator[list[bytes] | Skipped]:
        # So many images in memory, however large the data set; more, while the trunk may be on its way.
        few, many = 4 * self._threads, max(4 * self._threads, _DECODED // self.pixels)
        waiting: deque[Future[Found]] = deque()
        with ThreadPoolExecutor(self._threads) as pool:
            try:
                for one in given:
                    waiting.append(pool.submit(rows, one))
                    while len(waiting) > (few if self._opened else many):
                        yield self._settle(pool, waiting)
                while waiting:
                    yield self._settle(pool, waiting)
            finally:
                for future in waiting:
                    future.cancel()
                self._write()

    def _rows(self, asked: Asked) -> Found:
        return self._with_rows(self._look_up(asked))

    def _with_rows(self, found: Found) -> Found:
        return self._compute(found) if self._opened else found

    def _settle(self, pool: ThreadPoolExecutor, waiting: deque[Future[Found]]) -> list[bytes] | Skipped:
        found = waiting.popleft().result()
        if misses(found):
            # The first: in this thread, as lowering is TensorFlow's. Those behind it may have been missed as well.
            data = self.file.load().data
            for _ in range(self._threads):
                self._engines.put(open_model(self.file.kind, data, 1, ("features",), file="the trunk"))
            self._opened = True
            again = [pool.submit(self._complete, future) for future in waiting]
            waiting.clear()
            waiting.extend(again)
            found = self._compute(found)
        if isinstance(found, Skipped):
            return found
        fresh = [(row.key, row.row) for row in found if isinstance(row, Computed)]
        self.computed += len(fresh)
        self._fresh += fresh
        if time.monotonic() - self._written > _WRITE_AFTER:
            self._write()
        return [row.row if isinstance(row, Computed) else row for row in found if not isinstance(row, Missed)]

    def _complete(self, future: Future[Found]) -> Found:
        return self._compute(future.result())  # earlier in the pool's queue than this, so it comes

    def _look_up(self, asked: Asked) -> Found:
        sample, views = asked
        content: bytes | NDArray[np.uint8] | None = None
        try:
            digest = self.seen.digest(sample)
            if digest is None:
                # A file is read once: what its hash is taken from is what is decoded.
                content = content_of(sample)
                digest = digest_of(content)
                self.seen.note(sample, digest)
            keys = [hashlib.sha256(self._recipe(view) + digest).digest() for view in views]
            found: list[bytes | Computed | Missed | None] = [self._cached(key) for key in keys]
            missed = [i for i, row in enumerate(found) if row is None]
            pixels = self._pixels(sample, [views[i] for i in missed], digest, content)
            for i, image in zip(missed, pixels, strict=True):
                found[i] = Missed(keys[i], image, thumbnail(image))
        except ImageError as e:
            return unreadable(sample, e)
        return [row for row in found if row is not None]

    def _recipe(self, view: View) -> bytes:
        if view.id not in self._recipes:
            kind = self.file.kind
            version = importlib.metadata.version(kind.name)
            said = [_FORMAT, self.file.fingerprint, kind.name, version, asdict(self.spec), view.id]
            said += ["exact"] if self._exact else []
            self._recipes[view.id] = _sha256(json.dumps(said, sort_keys=True))
        return self._recipes[view.id]

    def _cached(self, key: bytes) -> bytes | None:
        row = None if self.cache is None else self.cache.get(key)
        return row if row is not None and len(row) in self._sizes else None

    def _pixels(
        self, sample: Sample, views: Sequence[View], digest: bytes, content: bytes | NDArray[np.uint8] | None
    ) -> list[NDArray[np.uint8]]:
        """Return an image in each of `views`; `content` where it was read just now, whose hash is `digest`."""
        pixels = {view.id: self.seen.take(sample, view) for view in views}
        left = [view for view in views if pixels[view.id] is None]
        if left:
            if content is None:
                content = content_of(sample)
                if digest_of(content) != digest:
                    raise ImageError("it was changed while it was read; build again")
            decoded = decode_views(content, left, self.spec)
            pixels |= {view.id: image for view, image in zip(left, decoded, strict=True)}
        found = [(view, pixels[view.id]) for view in views]
        for view, image in found:
            if view is PLAIN and image is not None:
                self.seen.keep(sample, PLAIN, image)
        return [image for _, image in found if image is not None]

    def _compute(self, found: Found) -> Found:
        """Run the trunk over what was missed."""
        if not misses(found):
            return found
        engine = self._engines.get()
        try:
            return [self._computed(engine, row) if isinstance(row, Missed) else row for row in found]
        finally:
            self._engines.put(engine)

    def _computed(self, engine: Engine, missed: Missed) -> Computed:
        features = np.asarray(engine.run(missed.image)[0], np.float32)
        if self._exact:
            return Computed(missed.key, packed(features).tobytes())
        return Computed(missed.key, missed.thumbnail.tobytes() + packed(rounded(features)).tobytes())

    def _write(self) -> None:
        if self.cache is not None and self._fresh:
            self.cache.put(self._fresh)
        self._fresh.clear()
        self._written = time.monotonic()


def misses(found: Found) -> TypeGuard[list[bytes | Computed | Missed]]:
    """Return whether something of an image is yet to be computed."""
    return not isinstance(found, Skipped) and any(isinstance(row, Missed) for row in found)


def content_of(sample: Sample) -> bytes | NDArray[np.uint8]:
    """Return an image's file, or the array that it is.

    Raises:
        ImageError: it cannot be read.
    """
    source = sample.source
    return source if isinstance(source, np.ndarray) else read_bytes(source, source_name(source))


def decode_views(
    content: bytes | NDArray[np.uint8], views: Sequence[View], spec: Preprocessing
) -> list[NDArray[np.uint8]]:
    """Return an image in each of `views`, decoded once for all.

    Raises:
        ImageError: it cannot be decoded.
    """
    try:
        if len(views) == 1:
            return [views[0].load(content, spec)]
        decoded = decode_image(content, spec)
        return [view.change(decoded, spec) for view in views]
    except ImageError as e:
        # Read from memory, it has no name of its own in the error.
        raise ImageError(str(e).removeprefix(f"{source_name(content)}: ")) from None


def _sha256(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
