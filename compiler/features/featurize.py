"""Featurize: every image of the data set once through the trunk, and what was done before not at all."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.cache.store import FeatureCache
from tlc_edge.compiler.data.records import Sample, Skipped
from tlc_edge.compiler.data.views import PLAIN, View
from tlc_edge.compiler.records import Floats
from tlc_edge.runtime.bundle.manifest import Preprocessing
from tlc_edge.runtime.errors import BuildError
from tlc_edge.runtime.images.nothing import ONE_COLOUR, SIDE, is_one_colour
from tlc_edge.runtime.progress import Count, silent

from .half import unpacked
from .trunk_run import Computed, Found, Missed, TrunkFile, TrunkRun, trunk_file

__all__ = ["Featurized", "Looked", "TrunkFile", "featurize", "look", "looked", "trunk_file"]

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
    run = TrunkRun(trunk, preprocessing, view, cache, threads, len(samples))
    return _collect(run, samples, run.rows(samples), progress)


def look(
    trunk: TrunkFile,
    samples: Sequence[Sample],
    preprocessing: Preprocessing,
    threads: int = 0,
    progress: Count = silent,
    *,
    cache: FeatureCache | None = None,
    held: int = HELD,
) -> Looked:
    """Read all images, and leave to `Looked.featurize` what takes a trunk, which may not be there yet.

    What is decoded stays in memory for it. Where that would come to more than `held` bytes, the trunk runs at once.

    Raises:
        BuildError: as in `featurize`.
    """
    run = TrunkRun(trunk, preprocessing, PLAIN, cache, threads, len(samples))
    if len(samples) * run.pixels > held:
        return looked(featurize(trunk, samples, preprocessing, threads, progress, cache=cache))
    found: list[Found] = []

    def complete(tell: Count, kept_in: FeatureCache | None) -> Featurized:
        run.cache = kept_in
        return _collect(run, samples, run.complete(found), tell)

    with contextlib.closing(run.look(samples)) as rows:
        for row in rows:
            found.append(row)
            progress(len(found), len(samples))
    shape = (SIDE, SIDE, preprocessing.channels)
    kept: list[Sample] = []
    small: list[NDArray[np.uint8]] = []
    skipped: list[Skipped] = []
    for sample, row in zip(samples, found, strict=True):
        if isinstance(row, Skipped):
            skipped.append(row)
        elif is_one_colour(seen := _thumbnail(row, shape)):
            skipped.append(_one_colour(sample))
        else:
            kept.append(sample)
            small.append(seen)
    return Looked(
        tuple(kept),
        np.stack(small) if small else np.empty((0, *shape), np.uint8),
        tuple(skipped),
        tuple(run.digests[sample.name] for sample in kept),
        complete,
    )


def looked(found: Featurized) -> Looked:
    """Return images that the trunk has seen already."""
    return Looked(found.samples, found.thumbnails, found.skipped, found.digests, lambda _progress, _cache: found)


def _one_colour(sample: Sample) -> Skipped:
    return Skipped(sample.name, ONE_COLOUR, sample.label)


def _collect(
    run: TrunkRun, samples: Sequence[Sample], stream: Generator[bytes | Skipped], progress: Count
) -> Featurized:
    """Take what a run yields for each sample."""
    width = run.file.width
    kept: list[Sample] = []
    skipped: list[Skipped] = []
    blank = 0
    features = np.empty((len(samples), width), np.float32)
    thumbnails = np.empty((len(samples), SIDE, SIDE, run.spec.channels), np.uint8)
    with contextlib.closing(stream) as rows:
        for i, row in enumerate(rows):
            if isinstance(row, Skipped):
                skipped.append(row)
            else:
                small, vector = _unpack(row, thumbnails.shape[1:], width)
                if run.view is PLAIN and is_one_colour(small):  # a changed copy of one that is not may be
                    blank += 1
                    skipped.append(_one_colour(samples[i]))
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
    problem = None if run.cache is None else run.cache.problem
    cached = min(n, n + blank - run.computed)
    digests = tuple(run.digests[sample.name] for sample in kept)
    return Featurized(tuple(kept), features[:n], thumbnails[:n], tuple(skipped), cached, problem, digests)


def _thumbnail(row: bytes | Computed | Missed, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    if isinstance(row, Missed):
        return row.thumbnail
    return np.frombuffer(row if isinstance(row, bytes) else row.row, np.uint8, int(np.prod(shape))).reshape(shape)


def _unpack(row: bytes, shape: tuple[int, ...], width: int) -> tuple[NDArray[np.uint8], Floats]:
    size = int(np.prod(shape))
    return np.frombuffer(row, np.uint8, size).reshape(shape), unpacked(row[size:], width)
