"""Floats: which images the float trunk has to see. It takes twice the time of an int8 one, and heads can do without.

Of many training images, the int8 trunk alone sees all: that is what the device runs. The float trunk sees the held-out
ones, which files are measured on, and some training images, by which the int8 features are aligned to its own.
(`benchmarks/training.py views`: with 500 images and more the head loses nothing by it.)
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.cache.folder import caching
from tlc_edge.compiler.data.prepared import Data
from tlc_edge.compiler.data.records import Sample
from tlc_edge.compiler.data.split import Split
from tlc_edge.compiler.features.featurize import Featurized, featurize
from tlc_edge.compiler.features.trunk_files import TrunkFiles
from tlc_edge.compiler.records import Floats
from tlc_edge.compiler.train.streamed import STREAMED
from tlc_edge.runtime.errors import DataError
from tlc_edge.runtime.progress import Count
from tlc_edge.targets.schemes import SCHEMES

from .order import Order

FEW = 500
"""Training images below which the float trunk sees all: there its features help a head by a tenth of a point."""
ALIGNED = 100
"""Training images that features are aligned by; with 300 heads were the same."""
ALIKE = 0.9
"""Share of the float features' variance on these that aligned ones must explain to stand for them.

EfficientNet-Lite0 in int8 explains 0.990 of it on digits, chess pieces and icons; with noise of half of each feature's
deviation it would be 0.63 to 0.79.
"""


def needed(order: Order, form: str, samples: Sequence[Sample], parts: Split) -> NDArray[np.bool_] | None:
    """Return which images, [N], have to go through the float trunk, whose files are of a format `form`; None: all."""
    if not _spared(order, form, len(parts.train)):
        return None
    found = np.zeros(len(samples), np.bool_)
    found[parts.held_out] = True
    found[_chosen(samples, parts.train, order.options.seed)] = True
    return found


def complete(order: Order, files: TrunkFiles, found: Featurized, data: Data, progress: Count) -> Data:
    """Return the data with what they lack of the float trunk's features, as what was featurized was split otherwise.

    Near-duplicates and what cannot be read are known after the first look only. What the float trunk saw beyond need
    is of no account: so the same images make the same bundle, wherever their features come from.

    Raises:
        DataError: an image has changed since it was featurized.
    """
    wanted = needed(order, files.form, data.samples, data.parts)
    if found.ran is not None:
        rows = np.flatnonzero(~found.ran if wanted is None else wanted & ~found.ran)
        data = _through(order, files, data, rows, progress)
    return data if wanted is None else replace(data, seen=np.flatnonzero(wanted[data.parts.train]))


def see_all(order: Order, files: TrunkFiles, data: Data, progress: Count) -> Data:
    """Return the data with the float trunk's features of all training images.

    Raises:
        DataError: as in `complete`.
    """
    train = data.parts.train
    missing = train[np.isnan(data.features[train, 0])]
    return replace(_through(order, files, data, missing, progress), seen=None, made=None)


def explained(floats: Floats, aligned: Floats) -> float:
    """Return the share of the variance of features [n, F] that others explain; negative where they are far off."""
    total = float(np.square(floats - floats.mean(axis=0)).sum(dtype=np.float64))
    return 1 - float(np.square(aligned - floats).sum(dtype=np.float64)) / max(total, 1e-300)


def _through(order: Order, files: TrunkFiles, data: Data, rows: NDArray[np.int64], progress: Count) -> Data:
    """Return the data with the float trunk's features of some more images."""
    if not len(rows):
        return data
    samples, threads = [data.samples[i] for i in rows], order.options.threads
    with caching(order.options.cache) as cache:
        more = featurize(files.as_float(), samples, data.preprocessing, threads, progress, cache=cache)
    if more.skipped:
        raise DataError(f"{more.skipped[0].name}: {more.skipped[0].reason}; it changed while it was read")
    features = np.array(data.features)
    features[rows] = more.features
    return replace(data, features=features)


def _spared(order: Order, form: str, train: int) -> bool:
    """Return whether the float trunk can be spared most training images: where what is lowered rounds, and many."""
    lowered = [SCHEMES[scheme] for of, scheme in order.trunks if of == form]
    rounds = bool(lowered) and all(scheme.calibrated for scheme in lowered)
    return rounds and order.options.fine_tune is None and FEW <= train <= STREAMED


def _chosen(samples: Sequence[Sample], train: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Return some training images: each is chosen by its own name, so that others coming or going move few."""
    ranks = [hashlib.sha256(f"{seed} {samples[i].name}".encode("utf-8", "backslashreplace")).digest() for i in train]
    first = sorted(range(len(train)), key=lambda place: (ranks[place], place))[:ALIGNED]
    return np.asarray(train[np.sort(first)], np.int64)
