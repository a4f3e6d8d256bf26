"""Featurize again: the training images as the device will see them, and some of them changed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.cache.folder import caching
from tlc_edge.compiler.cache.store import FeatureCache
from tlc_edge.compiler.data.calibration_set import choose_calibration
from tlc_edge.compiler.data.looks import LOOKS
from tlc_edge.compiler.data.prepared import Data
from tlc_edge.compiler.data.records import Sample
from tlc_edge.compiler.data.views import PLAIN, View
from tlc_edge.compiler.features.align import Alignment, align
from tlc_edge.compiler.features.featurize import TrunkFile, decode_ahead, featurize_views, trunk_file
from tlc_edge.compiler.features.trunk_files import TrunkFiles
from tlc_edge.compiler.lower.file_kinds import TrunkKind
from tlc_edge.compiler.train.training import FeatureView
from tlc_edge.runtime.errors import BuildError, EngineError
from tlc_edge.runtime.progress import Count
from tlc_edge.targets.schemes import FLOAT32, SCHEMES

from .order import Order
from .records import Floats, Fused, Looks, LoweredTrunk, Neck

# A device has another engine to try, a build has not.
_ELSEWHERE = re.compile(r"; (run `tlc selftest`, or )?try another --engine$")
Trunks = Mapping[TrunkKind, LoweredTrunk]
"""By what a target asks for; what it gets may have another scheme."""
_LOOKED_AT = 300  # training images that are looked at in other ways; more would cost time and tell little


class RefusedError(BuildError):
    """An engine does not take a lowered trunk, or fails while it runs it."""

    def __init__(self, kind: TrunkKind, trunk: LoweredTrunk, error: EngineError) -> None:
        self.kind, self.scheme, self.bytes = kind, trunk.scheme, len(trunk.data)
        self.reason = _ELSEWHERE.sub("", str(error))
        super().__init__(
            f"model.{kind[0]} ({trunk.scheme}): {self.reason}; take --scheme float32, another --shave or "
            "another --backbone"
        )


@dataclass(frozen=True, eq=False)
class DeviceFeatures:
    """What lowered trunks give for the M training images, [M, F] each, by the trunk's kind."""

    raw: Mapping[TrunkKind, Floats]
    """As they come: of the float trunk, and of those that round."""
    alignments: Mapping[TrunkKind, Alignment]
    """What makes them most like the float trunk's, where there is a neck; it goes into the weights of head and neck."""
    copies: Sequence[Floats]
    """Of changed copies of the images, aligned, as the last TFLite trunk, or else ONNX trunk, gives them."""
    looks: Looks
    """Of some of the images as cameras and messengers change them, by the same trunk, as the neck is to read them."""
    whole: Sequence[FeatureView] = ()
    """What the head is trained on where there are too many images to hold: all of them, as copies and as `aligned`."""

    @property
    def aligned(self) -> dict[TrunkKind, Floats]:
        """As the head is trained on them."""
        return {kind: self.alignments[kind].apply(x) if kind in self.alignments else x for kind, x in self.raw.items()}

    @property
    def for_neck(self) -> dict[TrunkKind, Floats]:
        """As the neck is to read them."""
        return {k: self.alignments[k].for_neck(x) if k in self.alignments else x for k, x in self.raw.items()}

    def fold(self, kind: TrunkKind, fused: Fused) -> Fused:
        """Return head and neck for the features of a trunk as they come."""
        return self.alignments[kind].fold(fused) if kind in self.alignments else fused


def looks_again(order: Order, files: TrunkFiles, trunks: Trunks) -> list[tuple[TrunkFile, View]]:
    """Return through what `featurize_again` sends all training images, and in which views."""
    rounding, last = _rounding(files, trunks)
    plain = [(_file(files, trunks, kind), PLAIN) for kind in rounding]
    return [*plain, *((_file(files, trunks, last), view) for view in order.views)]


def _rounding(files: TrunkFiles, trunks: Trunks) -> tuple[list[TrunkKind], TrunkKind]:
    """Return the trunks that see all training images again, and the one that sees changed ones, maybe the float one."""
    floats: TrunkKind = (files.form, FLOAT32.name)
    rounding = [
        kind
        for kind, trunk in trunks.items()
        if kind != floats and (trunk.format == files.form or SCHEMES[trunk.scheme].calibrated)
    ]
    return rounding, next((kind for kind in reversed(rounding) if trunks[kind].format == files.form), floats)


def _file(files: TrunkFiles, trunks: Trunks, kind: TrunkKind) -> TrunkFile:
    return files.as_float() if kind == (files.form, FLOAT32.name) else trunk_file(trunks[kind], files.trunk.width)


def seen_again(data: Data) -> tuple[Sample, ...]:
    """Return the images that `featurize_again` runs: all that train the head, even where some of them do the rest."""
    return data.train.samples if data.studied is None else tuple(data.samples[i] for i in data.parts.train)


def featurize_again(
    order: Order, files: TrunkFiles, data: Data, trunks: Trunks, progress: Count, neck: Neck
) -> DeviceFeatures:
    """Run the training images through every trunk that rounds and is not too slow to be run here.

    Raises:
        RefusedError: an engine does not take one, or fails.
    """
    train, floats = data.train, (files.form, FLOAT32.name)
    some, changed = _some(order, data), _changed(order, data)
    rounding, last = _rounding(files, trunks)
    found: dict[TrunkKind, list[Floats]] = {}
    with caching(order.options.cache) as cache:
        if order.stored is not None:
            order.stored.prepare(looks_again(order, files, trunks), seen_again(data), progress)
        for kind in dict.fromkeys((*rounding, last)):
            views = [*([(PLAIN, None)] if kind in rounding else []), *(changed if kind == last else [])]
            try:
                found[kind] = _through(order, data, _file(files, trunks, kind), views, cache, progress)
            except EngineError as e:
                if kind not in trunks:
                    raise
                raise RefusedError(kind, trunks[kind], e) from None
    studied = _studied(data)
    whole = {kind: found[kind][0] for kind in rounding}
    copies, looked = found[last][-len(changed) : -len(LOOKS)], found[last][-len(LOOKS) :]
    raw = {floats: train.features, **{kind: _rows(x, data, studied) for kind, x in whole.items()}}
    alignments = {kind: align(raw[kind], train.features, neck.root) for kind in rounding if neck.kernel is not None}
    varied = [_rows(x, data, studied) for x in copies]
    apply = alignments[last].apply if last in alignments else None
    if last in alignments:
        varied = [alignments[last].apply(x) for x in varied]
        looked = [alignments[last].for_neck(x) for x in looked]
    every: list[FeatureView] = []
    if data.studied is not None:
        every += [FeatureView(x, apply=apply) for x in copies]
        every.append(FeatureView(data.features, data.parts.train))
        every += [
            FeatureView(x, apply=alignments[kind].apply if kind in alignments else None) for kind, x in whole.items()
        ]
    return DeviceFeatures(raw, alignments, varied, Looks(some, tuple(looked)), every)


def change_ahead(order: Order, data: Data, threads: int, progress: Count) -> None:
    """Make the changed images that `featurize_again` will ask for, as far as there is room for them."""
    if data.seen is not None and order.stored is None:
        decode_ahead(seen_again(data), _changed(order, data), data.preprocessing, data.seen, threads, progress)


def _changed(order: Order, data: Data) -> list[tuple[View, NDArray[np.int64] | None]]:
    """Return in which views training images are seen again, all or some of them."""
    some = _studied(data)[_some(order, data)]
    return [*((view, None) for view in order.views), *((view, some) for view in LOOKS.values())]


def _some(order: Order, data: Data) -> NDArray[np.int64]:
    """Return the training images that are looked at in other ways, ascending."""
    rows = np.arange(len(data.train.samples))
    return np.sort(choose_calibration(data.train.classes, rows, _LOOKED_AT, order.options.seed))


def _studied(data: Data) -> NDArray[np.int64]:
    """Return where the studied images are among those that train: of too many all train the head, and some stand for
    them everywhere else."""
    return np.arange(len(data.parts.train)) if data.studied is None else np.searchsorted(data.parts.train, data.studied)


def _rows(features: Floats, data: Data, studied: NDArray[np.int64]) -> Floats:
    return features if data.studied is None else np.asarray(features[studied], np.float32)


def _through(
    order: Order,
    data: Data,
    trunk: TrunkFile,
    views: Sequence[tuple[View, NDArray[np.int64] | None]],
    cache: FeatureCache | None,
    progress: Count,
) -> list[Floats]:
    """Return what a trunk gives for the training images in each of `views`; out of a store what that has of them."""
    samples = seen_again(data)
    made: list[Floats | None] = [
        None if order.stored is None or rows is not None else order.stored.features(trunk, view, samples, progress)
        for view, rows in views
    ]
    left = [view for view, features in zip(views, made, strict=True) if features is None]
    rest = iter(
        featurize_views(
            trunk,
            samples,
            left,
            data.preprocessing,
            order.options.threads,
            progress,
            cache=cache,
            seen=data.seen,
        )
        if left
        else ()
    )
    return [next(rest) if features is None else features for features in made]
