"""Featurize: every image of the data set once through the trunk, and what was done before not at all."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import os
import queue
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.cache.store import FeatureCache
from tlc_edge.compiler.data.decode import unreadable
from tlc_edge.compiler.data.records import Sample, Skipped
from tlc_edge.compiler.data.views import PLAIN, View
from tlc_edge.compiler.records import Floats, LoweredTrunk
from tlc_edge.runtime.bundle.manifest import Preprocessing
from tlc_edge.runtime.engines.open import KINDS, Engine, EngineKind, open_model
from tlc_edge.runtime.errors import BuildError, ImageError
from tlc_edge.runtime.images.load import read_bytes, source_name
from tlc_edge.runtime.images.nothing import ONE_COLOUR, SIDE, is_one_colour, thumbnail
from tlc_edge.runtime.progress import Count, silent

from .half import packed, rounded, unpacked

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


@dataclass(frozen=True, eq=False)
class Featurized:
    """The images that could be read, with their pooled features, and the others."""

    samples: tuple[Sample, ...]
    features: Floats
    """[N, F], rounded as `half` does."""
    thumbnails: NDArray[np.uint8]
    """[N, SIDE, SIDE, C], as `duplicates` compares them."""
    skipped: tuple[Skipped, ...]
    cached: int
    """How many came out of the cache, neither decoded nor run."""
    problem: str | None = None
    """Why the cache was of no use; None where it was, or there is none."""
    digests: tuple[bytes, ...] = ()
    """SHA-256 of each image that could be read: of its file, or of its pixels where it has none."""


def trunk_file(file: LoweredTrunk, width: int) -> TrunkFile:
    """Return a lowered trunk of `width` features with the engine that its format runs in."""
    return TrunkFile(hashlib.sha256(file.data).hexdigest(), width, lambda: file, _kind(file.format))


def _kind(form: str) -> EngineKind:
    return next(kind for kind in KINDS if kind.format == form)


def featurize(
    trunk: TrunkFile,
    samples: Sequence[Sample],
    preprocessing: Preprocessing,
    threads: int = 0,
    progress: Count = silent,
    *,
    cache: FeatureCache | None = None,
    view: View = PLAIN,
) -> Featurized:
    """Run a trunk over all images that can be read.

    Each of `threads` threads (0: one per core) reads, decodes and runs one image after the other in an engine of its
    own: no core waits for another, and on small networks two engines of one thread outrun one of two. The features
    are the same to the bit for any number of threads, and whether cached or not; float16 holds them.

    Raises:
        BuildError: features are not finite.
    """
    run = _Run(trunk, preprocessing, view, cache, min(threads or os.cpu_count() or 1, max(1, len(samples))))
    kept: list[Sample] = []
    skipped: list[Skipped] = []
    blank = 0
    features = np.empty((len(samples), trunk.width), np.float32)
    thumbnails = np.empty((len(samples), SIDE, SIDE, preprocessing.channels), np.uint8)
    with contextlib.closing(run.rows(samples)) as rows:
        for i, row in enumerate(rows):
            if isinstance(row, Skipped):
                skipped.append(row)
            else:
                small, vector = _unpack(row, thumbnails.shape[1:], trunk.width)
                if view is PLAIN and is_one_colour(small):  # a changed copy of one that is not may be
                    blank += 1
                    skipped.append(Skipped(samples[i].name, ONE_COLOUR, samples[i].label))
                else:
                    thumbnails[len(kept)], features[len(kept)] = small, vector
                    kept.append(samples[i])
            progress(i + 1, len(samples))
    n = len(kept)
    broken = np.flatnonzero(~np.isfinite(features[:n]).all(axis=1))
    if len(broken):
        raise BuildError(
            f"the trunk gives features that are not finite for {len(broken)} of {n} images (first "
            f"{kept[broken[0]].name}); its weights are damaged, or its training ran away: take another file, or "
            "another --shave"
        )
    problem = None if cache is None else cache.problem
    cached = min(n, n + blank - run.computed)
    digests = tuple(run.digests[sample.name] for sample in kept)
    return Featurized(tuple(kept), features[:n], thumbnails[:n], tuple(skipped), cached, problem, digests)


@dataclass(frozen=True, eq=False)
class _Missed:
    """An image that is not in the cache. It is decoded: one that cannot be must not cost the lowering of a trunk."""

    key: bytes
    image: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class _Computed:
    """A row that is not in the cache yet."""

    key: bytes
    row: bytes


_Found = bytes | _Computed | _Missed | Skipped


class _Run:
    """One pass over a data set."""

    def __init__(
        self, file: TrunkFile, spec: Preprocessing, view: View, cache: FeatureCache | None, threads: int
    ) -> None:
        self.computed = 0
        self.digests: dict[str, bytes] = {}
        self._opened = False
        self._file, self._spec, self._view, self._cache, self._threads = file, spec, view, cache, threads
        version = importlib.metadata.version(file.kind.name)
        recipe = [_FORMAT, file.fingerprint, file.kind.name, version, asdict(spec), view.id]
        self._recipe = _sha256(json.dumps(recipe, sort_keys=True))
        self._pixels = spec.height * spec.width * spec.channels
        self._sizes = [SIDE * SIDE * spec.channels + size * file.width for size in (2, 4)]
        self._engines: queue.SimpleQueue[Engine] = queue.SimpleQueue()
        self._fresh: list[tuple[bytes, bytes]] = []
        self._written = time.monotonic()

    def rows(self, samples: Sequence[Sample]) -> Generator[bytes | Skipped]:
        """Yield each sample's row as the cache keeps it, or why there is none; in order."""
        # So many images in memory, however large the data set; more, while the trunk may be on its way.
        few, many = 4 * self._threads, max(4 * self._threads, _DECODED // self._pixels)
        waiting: deque[Future[_Found]] = deque()
        with ThreadPoolExecutor(self._threads) as pool:
            try:
                for sample in samples:
                    waiting.append(pool.submit(self._row, sample))
                    while len(waiting) > (few if self._opened else many):
                        yield self._settle(pool, waiting)
                while waiting:
                    yield self._settle(pool, waiting)
            finally:
                for future in waiting:
                    future.cancel()
                self._write()

    def _row(self, sample: Sample) -> _Found:
        found = self._look_up(sample)
        return self._compute(found) if isinstance(found, _Missed) and self._opened else found

    def _settle(self, pool: ThreadPoolExecutor, waiting: deque[Future[_Found]]) -> bytes | Skipped:
        found = waiting.popleft().result()
        if isinstance(found, _Missed):
            # The first: in this thread, as lowering is TensorFlow's. Those behind it may have been missed as well.
            data = self._file.load().data
            for _ in range(self._threads):
                self._engines.put(open_model(self._file.kind, data, 1, ("features",), file="the trunk"))
            self._opened = True
            again = [pool.submit(self._complete, future) for future in waiting]
            waiting.clear()
            waiting.extend(again)
            found = self._compute(found)
        if not isinstance(found, _Computed):
            return found
        self.computed += 1
        self._fresh.append((found.key, found.row))
        if time.monotonic() - self._written > _WRITE_AFTER:
            self._write()
        return found.row

    def _complete(self, future: Future[_Found]) -> _Found:
        found = future.result()  # earlier in the pool's queue than this, so it comes
        return self._compute(found) if isinstance(found, _Missed) else found

    def _look_up(self, sample: Sample) -> bytes | _Missed | Skipped:
        source = sample.source
        try:
            # A file is read once: what its hash is taken from is what is decoded.
            content = source if isinstance(source, np.ndarray) else read_bytes(source, source_name(source))
            self.digests[sample.name] = _digest(content)
            key = hashlib.sha256(self._recipe + self.digests[sample.name]).digest()
            row = None if self._cache is None else self._cache.get(key)
            if row is not None and len(row) in self._sizes:
                return row
            return _Missed(key, self._decode(content))
        except ImageError as e:
            return unreadable(sample, e)

    def _decode(self, content: bytes | NDArray[np.uint8]) -> NDArray[np.uint8]:
        try:
            return self._view.load(content, self._spec)
        except ImageError as e:
            # Read from memory, it has no name of its own in the error.
            raise ImageError(str(e).removeprefix(f"{source_name(content)}: ")) from None

    def _compute(self, missed: _Missed) -> _Computed:
        engine = self._engines.get()
        try:
            features = rounded(np.asarray(engine.run(missed.image)[0], np.float32))
        finally:
            self._engines.put(engine)
        return _Computed(missed.key, thumbnail(missed.image).tobytes() + packed(features).tobytes())

    def _write(self) -> None:
        if self._cache is not None and self._fresh:
            self._cache.put(self._fresh)
        self._fresh.clear()
        self._written = time.monotonic()


def _unpack(row: bytes, shape: tuple[int, ...], width: int) -> tuple[NDArray[np.uint8], Floats]:
    size = int(np.prod(shape))
    return np.frombuffer(row, np.uint8, size).reshape(shape), unpacked(row[size:], width)


def _digest(content: bytes | NDArray[np.uint8]) -> bytes:
    if isinstance(content, bytes):
        return hashlib.sha256(content).digest()
    head = f"{content.dtype.str}{content.shape}".encode()
    return hashlib.sha256(head + np.ascontiguousarray(content).tobytes()).digest()


def _sha256(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
