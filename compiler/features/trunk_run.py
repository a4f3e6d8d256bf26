"""One pass of a trunk over a data set: what is cached is looked up, the rest read, decoded and run, in threads."""

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
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.cache.store import FeatureCache
from tlc_edge.compiler.data.decode import unreadable
from tlc_edge.compiler.data.records import Sample, Skipped
from tlc_edge.compiler.data.views import View
from tlc_edge.compiler.records import LoweredTrunk
from tlc_edge.runtime.bundle.manifest import Preprocessing
from tlc_edge.runtime.engines.open import KINDS, Engine, EngineKind, open_model
from tlc_edge.runtime.errors import ImageError
from tlc_edge.runtime.images.load import read_bytes, source_name
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


Found = bytes | Computed | Missed | Skipped


class TrunkRun:
    """One pass over a data set; with `exact`, rows hold nothing but features, to the bit as the trunk gives them."""

    def __init__(
        self,
        file: TrunkFile,
        spec: Preprocessing,
        view: View,
        cache: FeatureCache | None,
        threads: int,
        images: int,
        *,
        exact: bool = False,
    ) -> None:
        self.file, self.spec, self.view, self.cache = file, spec, view, cache
        self.computed = 0
        self.digests: dict[str, bytes] = {}
        self.pixels = spec.height * spec.width * spec.channels
        self._threads = min(threads or os.cpu_count() or 1, max(1, images))
        self._opened, self._exact = False, exact
        version = importlib.metadata.version(file.kind.name)
        recipe = [_FORMAT, file.fingerprint, file.kind.name, version, asdict(spec), view.id]
        recipe += ["exact"] if exact else []
        self._recipe = _sha256(json.dumps(recipe, sort_keys=True))
        beside = 0 if exact else SIDE * SIDE * spec.channels
        self._sizes = [beside + size * file.width for size in (2, 4)]
        self._engines: queue.SimpleQueue[Engine] = queue.SimpleQueue()
        self._fresh: list[tuple[bytes, bytes]] = []
        self._written = time.monotonic()

    def rows(self, samples: Iterable[Sample]) -> Generator[bytes | Skipped]:
        """Yield each sample's row as the cache keeps it, or why there is none; in order."""
        return self._stream(samples, self._row)

    def look(self, samples: Sequence[Sample]) -> Generator[Found]:
        """Yield of each sample what there is without the trunk; in order."""
        with ThreadPoolExecutor(self._threads) as pool:
            waiting = [pool.submit(self._look_up, sample) for sample in samples]
            try:
                for future in waiting:
                    yield future.result()
            finally:
                for future in waiting:
                    future.cancel()

    def complete(self, found: list[Found]) -> Generator[bytes | Skipped]:
        """Yield the rows of what `look` gave, which forgets it."""
        found.reverse()
        return self._stream((found.pop() for _ in range(len(found))), self._with_row)

    def _stream(self, given: Iterable[T], row: Callable[[T], Found]) -> Generator[bytes | Skipped]:
        # So many images in memory, however large the data set; more, while the trunk may be on its way.
        few, many = 4 * self._threads, max(4 * self._threads, _DECODED // self.pixels)
        waiting: deque[Future[Found]] = deque()
        with ThreadPoolExecutor(self._threads) as pool:
            try:
                for one in given:
                    waiting.append(pool.submit(row, one))
                    while len(waiting) > (few if self._opened else many):
                        yield self._settle(pool, waiting)
                while waiting:
                    yield self._settle(pool, waiting)
            finally:
                for future in waiting:
                    future.cancel()
                self._write()

    def _row(self, sample: Sample) -> Found:
        return self._with_row(self._look_up(sample))

    def _with_row(self, found: Found) -> Found:
        return self._compute(found) if isinstance(found, Missed) and self._opened else found

    def _settle(self, pool: ThreadPoolExecutor, waiting: deque[Future[Found]]) -> bytes | Skipped:
        found = waiting.popleft().result()
        if isinstance(found, Missed):
            # The first: in this thread, as lowering is TensorFlow's. Those behind it may have been missed as well.
            data = self.file.load().data
            for _ in range(self._threads):
                self._engines.put(open_model(self.file.kind, data, 1, ("features",), file="the trunk"))
            self._opened = True
            again = [pool.submit(self._complete, future) for future in waiting]
            waiting.clear()
            waiting.extend(again)
            found = self._compute(found)
        if not isinstance(found, Computed):
            return found
        self.computed += 1
        self._fresh.append((found.key, found.row))
        if time.monotonic() - self._written > _WRITE_AFTER:
            self._write()
        return found.row

    def _complete(self, future: Future[Found]) -> Found:
        found = future.result()  # earlier in the pool's queue than this, so it comes
        return self._compute(found) if isinstance(found, Missed) else found

    def _look_up(self, sample: Sample) -> bytes | Missed | Skipped:
        source = sample.source
        try:
            # A file is read once: what its hash is taken from is what is decoded.
            content = source if isinstance(source, np.ndarray) else read_bytes(source, source_name(source))
            self.digests[sample.name] = _digest(content)
            key = hashlib.sha256(self._recipe + self.digests[sample.name]).digest()
            row = None if self.cache is None else self.cache.get(key)
            if row is not None and len(row) in self._sizes:
                return row
            image = self._decode(content)
            return Missed(key, image, thumbnail(image))
        except ImageError as e:
            return unreadable(sample, e)

    def _decode(self, content: bytes | NDArray[np.uint8]) -> NDArray[np.uint8]:
        try:
            return self.view.load(content, self.spec)
        except ImageError as e:
            # Read from memory, it has no name of its own in the error.
            raise ImageError(str(e).removeprefix(f"{source_name(content)}: ")) from None

    def _compute(self, missed: Missed) -> Computed:
        engine = self._engines.get()
        try:
            features = np.asarray(engine.run(missed.image)[0], np.float32)
        finally:
            self._engines.put(engine)
        if self._exact:
            return Computed(missed.key, packed(features).tobytes())
        return Computed(missed.key, missed.thumbnail.tobytes() + packed(rounded(features)).tobytes())

    def _write(self) -> None:
        if self.cache is not None and self._fresh:
            self.cache.put(self._fresh)
        self._fresh.clear()
        self._written = time.monotonic()


def _digest(content: bytes | NDArray[np.uint8]) -> bytes:
    if isinstance(content, bytes):
        return hashlib.sha256(content).digest()
    head = f"{content.dtype.str}{content.shape}".encode()
    return hashlib.sha256(head + np.ascontiguousarray(content).tobytes()).digest()


def _sha256(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
