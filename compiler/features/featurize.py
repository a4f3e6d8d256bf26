"""Featurize: every image of the data set once through the trunk, and what was done before not at all."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.cache.store import FeatureCache
from tlc_edge.compiler.data.records import Sample, Skipped, refuse
from tlc_edge.compiler.data.seen import Seen, digest_of
from tlc_edge.compiler.data.views import PLAIN, View
from tlc_edge.compiler.records import Floats
from tlc_edge.runtime.bundle.manifest import Preprocessing
from tlc_edge.runtime.errors import BuildError
from tlc_edge.runtime.images.nothing import ONE_COLOUR, SIDE, is_one_colour
from tlc_edge.runtime.progress import Count, silent

from .half import unpacked
from .trunk_run import Computed, Found, Missed, TrunkFile, TrunkRun, content_of, decode_views, misses, trunk_file

__all__ = [
    "Featurized",
    "Looked",
    "TrunkFile",
    "decode_ahead",
    "featurize",
    "featurize_views",
    "look",
    "looked",
    "trunk_file",
]

HELD = 1_000_000_000
"""Bytes of images that `look` keeps decoded at most."""


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


@dataclass(frozen=True, eq=False)
class Looked:
    """The images that could be read, and the others, before the trunk has seen them; fields as in `Featurized`."""

    samples: tuple[Sample, ...]
    thumbnails: NDArray[np.uint8]
    skipped: tuple[Skipped, ...]
    digests: tuple[bytes, ...]
    featurize: Callable[[Count, FeatureCache | None], Featurized]
    """Runs the trunk over them, once; `featurize` has done so already where they were too many to hold."""
    seen: Seen | None = None
    """What was read and decoded of them; None where another machine did it."""


def featurize(
    trunk: TrunkFile,
    samples: Sequence[Sample],
    preprocessing: Preprocessing,
    threads: int = 0,
    progress: Count = silent,
    *,
    cache: FeatureCache | None = None,
    view: View = PLAIN,
    seen: Seen | None = None,
) -> Featurized:
    """Run a trunk over all images that can be read.

    Each of `threads` threads (0: one per core) reads, decodes and runs one image after the other in an engine of its
    own: no core waits for another, and on small networks two engines of one thread outrun one of two. The features
    are the same to the bit for any number of threads, and whether cached or not; float16 holds them. `seen` holds what
    was read and decoded before, and gets what is read now.

    Raises:
        BuildError: features are not finite.
    """
    run = TrunkRun(trunk, preprocessing, cache, threads, len(samples), seen=seen)
    return _collect(run, samples, run.rows([(sample, (view,)) for sample in samples]), progress, plain=view is PLAIN)


def featurize_views(
    trunk: TrunkFile,
    samples: Sequence[Sample],
    views: Sequence[tuple[View, NDArray[np.int64] | None]],
    preprocessing: Preprocessing,
    threads: int = 0,
    progress: Count = silent,
    *,
    cache: FeatureCache | None = None,
    seen: Seen | None = None,
) -> list[Floats]:
    """Run a trunk over images in several views; each image is read and decoded once for all of them.

    Args:
        trunk: the trunk.
        samples: images that could be read before.
        views: each with the rows of `samples` [R] that are to be seen so; None: all.
        preprocessing: how images are made to fit.
        threads: as in `featurize`, and so the rest.

    Returns:
        The features in each view, [R, F], rounded as `half` does.

    Raises:
        BuildError: features are not finite.
        DataError: an image has changed since and can no longer be read.
    """
    wanted = _wanted(len(samples), views)
    asked = [(s, [views[number][0] for number, _ in w]) for s, w in zip(samples, wanted, strict=True)]
    counts = [len(samples) if rows is None else len(rows) for _, rows in views]
    features = [np.empty((count, trunk.width), np.float32) for count in counts]
    shape = (SIDE, SIDE, preprocessing.channels)
    run = TrunkRun(trunk, preprocessing, cache, threads, len(samples), seen=seen)
    with contextlib.closing(run.rows(asked)) as found:
        for i, given in enumerate(found):
            if isinstance(given, Skipped):
                raise refuse([given])
            for (number, place), row in zip(wanted[i], given, strict=True):
                features[number][place] = _unpack(row, shape, trunk.width)[1]
            progress(i + 1, len(samples))
    for (_, rows), made in zip(views, features, strict=True):
        _check_finite(made, samples if rows is None else [samples[row] for row in rows.tolist()])
    return features


def decode_ahead(
    samples: Sequence[Sample],
    views: Sequence[tuple[View, NDArray[np.int64] | None]],
    preprocessing: Preprocessing,
    seen: Seen,
    threads: int,
    progress: Count,
) -> None:
    """Decode images in the views that `featurize_views` will be asked for, as far as there is room in `seen`."""
    wanted = _wanted(len(samples), views)

    def decode(row: int) -> bool:
        sample, asked = samples[row], [views[number][0] for number, _ in wanted[row]]
        content = content_of(sample)
        if digest_of(content) != seen.digest(sample):
            return False
        pixels = decode_views(content, asked, preprocessing)
        return all(seen.keep(sample, view, image) for view, image in zip(asked, pixels, strict=True))

    rows = [row for row, asked in enumerate(wanted) if asked]
    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(rows), threads):
            if not all(pool.map(decode, rows[start : start + threads])):
                return
            progress(min(start + threads, len(rows)), len(rows))


def _wanted(count: int, views: Sequence[tuple[View, NDArray[np.int64] | None]]) -> list[list[tuple[int, int]]]:
    """Return of each of `count` images the numbers of its views, with its place in each."""
    wanted: list[list[tuple[int, int]]] = [[] for _ in range(count)]
    for number, (_, rows) in enumerate(views):
        for place, row in enumerate(range(count) if rows is None else rows.tolist()):
            wanted[row].append((number, place))
    return wanted


def look(
    trunk: TrunkFile,
    samples: Sequence[Sample],
    preprocessing: Preprocessing,
    threads: int = 0,
    progress: Count = silent,
    *,
    cache: FeatureCache | None = None,
    held: int = HELD,
    seen: Seen | None = None,
    missed: Callable[[], None] | None = None,
) -> Looked:
    """Read all images, and leave to `Looked.featurize` what takes a trunk, which may not be there yet.

    What is decoded waits for it in memory. Where that would come to more than `held` bytes, the trunk runs at once.
    `seen` gets what is read and decoded, and `missed` is called at images that are not in the cache.

    Raises:
        BuildError: as in `featurize`.
    """
    seen = Seen() if seen is None else seen
    run = TrunkRun(trunk, preprocessing, cache, threads, len(samples), seen=seen)
    if len(samples) * run.pixels > held:
        return looked(featurize(trunk, samples, preprocessing, threads, progress, cache=cache, seen=seen), seen)
    found: list[Found] = []

    def complete(tell: Count, kept_in: FeatureCache | None) -> Featurized:
        run.cache = kept_in
        return _collect(run, samples, run.complete(found), tell, plain=True)

    with contextlib.closing(run.look([(sample, (PLAIN,)) for sample in samples])) as rows:
        for row in rows:
            found.append(row)
            if missed is not None and misses(row):
                missed()
            progress(len(found), len(samples))
    shape = (SIDE, SIDE, preprocessing.channels)
    kept: list[Sample] = []
    small: list[NDArray[np.uint8]] = []
    skipped: list[Skipped] = []
    for sample, one in zip(samples, found, strict=True):
        if isinstance(one, Skipped):
            skipped.append(one)
        elif is_one_colour(thumb := _thumbnail(one[0], shape)):
            skipped.append(_one_colour(sample))
        else:
            kept.append(sample)
            small.append(thumb)
    return Looked(
        tuple(kept),
        np.stack(small) if small else np.empty((0, *shape), np.uint8),
        tuple(skipped),
        tuple(_digests(seen, kept)),
        complete,
        seen,
    )


def looked(found: Featurized, seen: Seen | None = None) -> Looked:
    """Return images that the trunk has seen already."""
    return Looked(found.samples, found.thumbnails, found.skipped, found.digests, lambda _progress, _cache: found, seen)


def _one_colour(sample: Sample) -> Skipped:
    return Skipped(sample.name, ONE_COLOUR, sample.label)


def _digests(seen: Seen, samples: Sequence[Sample]) -> list[bytes]:
    found = (seen.digest(sample) for sample in samples)
    return [digest for digest in found if digest is not None]


def _collect(
    run: TrunkRun,
    samples: Sequence[Sample],
    stream: Generator[list[bytes] | Skipped],
    progress: Count,
    *,
    plain: bool,
) -> Featurized:
    """Take what a run yields for the one view of each sample; is it `plain`?"""
    width = run.file.width
    kept: list[Sample] = []
    skipped: list[Skipped] = []
    blank = 0
    features = np.empty((len(samples), width), np.float32)
    thumbnails = np.empty((len(samples), SIDE, SIDE, run.spec.channels), np.uint8)
    with contextlib.closing(stream) as found:
        for i, rows in enumerate(found):
            if isinstance(rows, Skipped):
                skipped.append(rows)
            else:
                small, vector = _unpack(rows[0], thumbnails.shape[1:], width)
                if plain and is_one_colour(small):  # a changed copy of one that is not may be
                    blank += 1
                    skipped.append(_one_colour(samples[i]))
                else:
                    thumbnails[len(kept)], features[len(kept)] = small, vector
                    kept.append(samples[i])
            progress(i + 1, len(samples))
    n = len(kept)
    _check_finite(features[:n], kept)
    problem = None if run.cache is None else run.cache.problem
    cached = min(n, n + blank - run.computed)
    digests = tuple(_digests(run.seen, kept))
    return Featurized(tuple(kept), features[:n], thumbnails[:n], tuple(skipped), cached, problem, digests)


def _check_finite(features: Floats, samples: Sequence[Sample]) -> None:
    broken = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if len(broken):
        raise BuildError(
            f"the trunk gives features that are not finite for {len(broken)} of {len(features)} images (first "
            f"{samples[broken[0]].name}); its weights are damaged, or its training ran away: take another file, or "
            "another --shave"
        )


def _thumbnail(row: bytes | Computed | Missed, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    if isinstance(row, Missed):
        return row.thumbnail
    return np.frombuffer(row if isinstance(row, bytes) else row.row, np.uint8, int(np.prod(shape))).reshape(shape)


def _unpack(row: bytes, shape: tuple[int, ...], width: int) -> tuple[NDArray[np.uint8], Floats]:
    size = int(np.prod(shape))
    return np.frombuffer(row, np.uint8, size).reshape(shape), unpacked(row[size:], width)
