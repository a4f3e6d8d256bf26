"""What a trunk's file gives for images, to the bit: what comes after it in a model file can be run on that."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import numpy as np

from tlc_edge.compiler.cache.store import FeatureCache
from tlc_edge.compiler.data.records import Sample, Skipped
from tlc_edge.compiler.data.seen import Seen
from tlc_edge.compiler.data.views import View
from tlc_edge.compiler.records import Floats
from tlc_edge.runtime.bundle.manifest import Preprocessing
from tlc_edge.runtime.progress import Count, silent

from .half import unpacked
from .trunk_run import TrunkFile, TrunkRun


def exact_features(
    trunk: TrunkFile,
    samples: Sequence[Sample],
    views: Sequence[View],
    preprocessing: Preprocessing,
    threads: int = 0,
    progress: Count = silent,
    *,
    cache: FeatureCache | None = None,
    seen: Seen | None = None,
) -> list[Floats] | None:
    """Return what a trunk gives for images in each of `views`, neither rounded nor judged, [N, F].

    None where one cannot be read. Kept in the cache beside the rounded features, under keys of their own.
    """
    run = TrunkRun(trunk, preprocessing, cache, threads, len(samples), seen=seen, exact=True)
    features = [np.empty((len(samples), trunk.width), np.float32) for _ in views]
    with contextlib.closing(run.rows([(sample, views) for sample in samples])) as found:
        for i, rows in enumerate(found):
            if isinstance(rows, Skipped):
                return None
            for of_view, row in zip(features, rows, strict=True):
                of_view[i] = unpacked(row, trunk.width)
            progress(i + 1, len(samples))
    return features
