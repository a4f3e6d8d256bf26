"""What a trunk's file gives for images, to the bit: what comes after it in a model file can be run on that."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import numpy as np

from tlc_edge.compiler.cache.store import FeatureCache
from tlc_edge.compiler.data.records import Sample, Skipped
from tlc_edge.compiler.data.views import PLAIN, View
from tlc_edge.compiler.records import Floats
from tlc_edge.runtime.bundle.manifest import Preprocessing

from .half import unpacked
from .trunk_run import TrunkFile, TrunkRun


def exact_features(
    trunk: TrunkFile,
    samples: Sequence[Sample],
    preprocessing: Preprocessing,
    threads: int = 0,
    *,
    cache: FeatureCache | None = None,
    view: View = PLAIN,
) -> Floats | None:
    """Return what a trunk gives for images, neither rounded nor judged, [N, F]; None where one cannot be read.

    Kept in the cache beside the rounded features, under keys of their own.
    """
    run = TrunkRun(trunk, preprocessing, view, cache, threads, len(samples), exact=True)
    features = np.empty((len(samples), trunk.width), np.float32)
    with contextlib.closing(run.rows(samples)) as rows:
        for i, row in enumerate(rows):
            if isinstance(row, Skipped):
                return None
            features[i] = unpacked(row, trunk.width)
    return features
