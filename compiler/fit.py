"""Fit: head and neck to the trunks as the device will run them, and each file against the float graph.

These steps are repeated whole when a trunk is replaced (see `ladder`): a head has to know the trunk that it sits on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.cache.folder import caching
from tlc_edge.compiler.data.calibration_set import choose_calibration
from tlc_edge.compiler.data.looks import LOOKS
from tlc_edge.compiler.data.prepared import Data, HeldOut
from tlc_edge.compiler.data.records import Sample
from tlc_edge.compiler.data.views import PLAIN, View
from tlc_edge.compiler.features.align import Alignment, align
from tlc_edge.compiler.features.featurize import TrunkFile, featurize, trunk_file
from tlc_edge.compiler.features.reference import run_float
from tlc_edge.compiler.features.trunk_files import TrunkFiles
from tlc_edge.compiler.limits.check import DeviceFit, check_limits
from tlc_edge.compiler.lower.file_kinds import FileKind, TrunkKind
from tlc_edge.compiler.lower.formats import make_model
from tlc_edge.compiler.lower.tflite_content import left_in_float
from tlc_edge.compiler.train.heads import train_head
from tlc_edge.compiler.train.neck import make_neck
from tlc_edge.compiler.train.training import FeatureView, Whole
from tlc_edge.compiler.train.whiten import whiten
from tlc_edge.compiler.verify.judge import Answers, Judged, Reference, judge, output_names
from tlc_edge.compiler.verify.tail import open_tail
from tlc_edge.runtime.errors import BuildError, EngineError
from tlc_edge.runtime.progress import Count
from tlc_edge.targets.schemes import FLOAT32, SCHEMES, all_int8

from .order import Order
from .records import Floats, Fused, Looks, LoweredTrunk, Neck
from .steps import Steps

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


@dataclass(frozen=True, eq=False)
class Fitted:
    """One head and neck, and every file with them."""

    files: TrunkFiles
    trunks: Trunks
    plain: Neck
    """The neck before it was whitened."""
    looks: Looks
    """Some of the training images as cameras and messengers change them, aligned for the neck."""
    aligned: Mapping[TrunkKind, Floats]
    """What each TFLite or int8 trunk gives for the training images, aligned for the neck, [M, F]."""
    embedded: Floats
    """The training images as the float trunk and the neck see them, [M, D]."""
    reference: Reference
    judged: Mapping[FileKind, Judged]
    fits: Mapping[str, tuple[DeviceFit, ...]]
    """What each target's files need of the device, by the target's name, in the order of its files."""

    @property
    def fused(self) -> Fused:
        """The float graph."""
        return self.reference.fused

    @property
    def notes(self) -> tuple[str, ...]:
        """What int8 files hold that is not int8; a sentence each, for people."""
        int8 = [t for t in self.trunks.values() if t.format == "tflite" and all_int8(t.scheme)]
        return tuple(said for said in (left_in_float(t.data) for t in int8) if said)


def fit(order: Order, files: TrunkFiles, data: Data, held_out: HeldOut, trunks: Trunks, step: Steps) -> Fitted:
    """Train or load the head, attach it to every trunk, and run the targets' files over the held-out images.

    Raises:
        BuildError: a file is not for its device; see `check_limits`.
        RefusedError: an engine does not take a trunk, or a file.
    """
    options = order.options

    for asked, trunk in trunks.items():
        if trunk.refused is not None:
            raise RefusedError(asked, trunk, EngineError(trunk.refused))

    with step("featurize again") as tell:  # as the device will see the images, and copies of them
        plain = make_neck(files.trunk, data.train.features, root=all(t.square_roots for t in order.targets))
        device = featurize_again(order, files, data, trunks, tell, plain)
        aligned = device.for_neck

    with step("train head") as tell:  # on what float and device trunks give: it learns to bear the difference
        views = [*device.copies, *device.aligned.values()]
        every = Whole(device.whole, data.classes[data.parts.train]) if device.whole else None
        head = train_head(
            options.head, views, data.train.classes, data.labels, options.seed, tell, files.trunk.backbone.own, every
        )
        neck = whiten(plain, list(aligned.values()), data.train.classes, device.looks)
        embedded = neck.project(data.train.features)

    with step("fuse"):  # head and neck are written into the lowered trunks
        fused = Fused(files.trunk, neck, head, data.labels if head.layers else (), data.preprocessing)
        lowered = {
            kind: make_model(trunks[kind.trunk], device.fold(kind.trunk, fused), device.raw.get(kind.trunk), kind)
            for kind in order.files
        }

    with step("check limits"):  # bytes, memory, operations; what the device cannot have need not be verified
        fits = {t.name: check_limits(t, [lowered[kind] for kind in order.kinds[t.name]], fused) for t in order.targets}

    # each file against the float graph, before anything is written: one that falls too far stops the build
    with step("verify") as tell:
        outputs = run_float(files, fused, data.held_out.features, held_out.images, tell, options.cache)
        reference = Reference(fused, held_out, outputs, Answers(embedded, data.train.classes))
        judged: dict[FileKind, Judged] = {}
        for kind, file in lowered.items():
            trunk, names = trunks[kind.trunk], output_names(outputs)
            tail = open_tail(file, trunk, files.trunk.width, data.preprocessing, names, options.threads, options.cache)
            try:
                judged[kind] = judge(file, reference, options.threads, tail)
            except EngineError as e:
                raise RefusedError(kind.trunk, trunk, e) from None
    return Fitted(files, trunks, plain, device.looks, aligned, embedded, reference, judged, fits)


def looks_again(order: Order, files: TrunkFiles, trunks: Trunks) -> list[tuple[TrunkFile, View]]:
    """Return through what `featurize_again` sends all training images, and in which views."""
    width, device = files.trunk.width, files.as_float()
    found: list[tuple[TrunkFile, View]] = []
    for kind, trunk in trunks.items():
        of_form = trunk.format == files.form
        if kind != (files.form, FLOAT32.name) and (of_form or SCHEMES[trunk.scheme].calibrated):
            found.append((trunk_file(trunk, width), PLAIN))
            device = trunk_file(trunk, width) if of_form else device
    return [*found, *((device, view) for view in order.views)]


def seen_again(data: Data) -> tuple[Sample, ...]:
    """Return the images that `featurize_again` runs: all that train the head, even where some of them do the rest."""
    return data.train.samples if data.studied is None else tuple(data.samples[i] for i in data.parts.train)


def featurize_again(
    order: Order, files: TrunkFiles, data: Data, trunks: Trunks, progress: Count, neck: Neck
) -> DeviceFeatures:
    """Run the training images through every trunk that rounds and is not too slow to be run here."""
    options, spec, train, width = order.options, data.preprocessing, data.train, files.trunk.width
    # Of too many images all train the head, and some stand for them everywhere else.
    of_head = seen_again(data)
    studied = None if data.studied is None else np.searchsorted(data.parts.train, data.studied)
    whole: dict[TrunkKind | str, Floats] = {}

    def of_studied(key: TrunkKind | str, features: Floats) -> Floats:
        if studied is None:
            return features
        whole[key] = features
        return np.asarray(features[studied], np.float32)

    with caching(options.cache) as cache:

        def through(trunk: TrunkFile, view: View = PLAIN, some: NDArray[np.int64] | None = None) -> Floats:
            samples = of_head if some is None else [train.samples[i] for i in some]
            if order.stored is not None and some is None:
                made = order.stored.features(trunk, view, samples, progress)
                if made is not None:
                    return made
            return featurize(trunk, samples, spec, options.threads, progress, cache=cache, view=view).features

        if order.stored is not None:
            order.stored.prepare(looks_again(order, files, trunks), of_head, progress)
        floats: TrunkKind = (files.form, FLOAT32.name)
        raw: dict[TrunkKind, Floats] = {floats: train.features}
        last, device = floats, files.as_float()
        for kind, trunk in trunks.items():
            if kind not in raw and (trunk.format == files.form or SCHEMES[trunk.scheme].calibrated):
                try:
                    raw[kind] = of_studied(kind, through(trunk_file(trunk, width)))
                except EngineError as e:
                    raise RefusedError(kind, trunk, e) from None
                if trunk.format == files.form:
                    last, device = kind, trunk_file(trunk, width)
        varied = [of_studied(view.id, through(device, view)) for view in order.views]
        some = np.sort(choose_calibration(train.classes, np.arange(len(train.samples)), _LOOKED_AT, options.seed))
        looked = [through(device, view, some) for view in LOOKS.values()]
    aligned = [kind for kind in raw if neck.kernel is not None and kind != floats]
    alignments = {kind: align(raw[kind], train.features, neck.root) for kind in aligned}
    if last in alignments:
        varied = [alignments[last].apply(x) for x in varied]
        looked = [alignments[last].for_neck(x) for x in looked]
    views: list[FeatureView] = []
    if studied is not None:
        of_copies = alignments[last].apply if last in alignments else None
        views = [FeatureView(whole[view.id], apply=of_copies) for view in order.views]
        views.append(FeatureView(data.features, data.parts.train))
        views += [
            FeatureView(whole[kind], apply=alignments[kind].apply if kind in alignments else None)
            for kind in raw
            if kind != floats
        ]
    return DeviceFeatures(raw, alignments, varied, Looks(some, tuple(looked)), views)
