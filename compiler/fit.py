"""Fit: head and neck to the trunks as the device will run them, and each file against the float graph.

These steps are repeated whole when a trunk is replaced (see `ladder`): a head has to know the trunk that it sits on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tlc_edge.compiler.data.prepared import Data, HeldOut
from tlc_edge.compiler.features.exact_apart import ExactAhead, run_ahead
from tlc_edge.compiler.features.reference import run_float
from tlc_edge.compiler.features.trunk_files import TrunkFiles
from tlc_edge.compiler.limits.check import DeviceFit, check_limits
from tlc_edge.compiler.lower.file_kinds import FileKind, TrunkKind
from tlc_edge.compiler.lower.formats import make_model
from tlc_edge.compiler.lower.tflite_content import left_in_float
from tlc_edge.compiler.train.heads import train_head
from tlc_edge.compiler.train.neck import make_neck
from tlc_edge.compiler.train.training import Whole
from tlc_edge.compiler.train.whiten import whiten
from tlc_edge.compiler.verify.judge import Answers, Judged, Reference, judge, output_names
from tlc_edge.compiler.verify.tail import open_tail
from tlc_edge.runtime.errors import EngineError
from tlc_edge.targets.schemes import all_int8

from .again import RefusedError, Trunks, featurize_again
from .order import Order
from .records import Floats, Fused, Looks, Neck
from .steps import Steps


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
        root = all(t.square_roots for t in order.targets)
        plain = make_neck(files.trunk, data.train.features, root=root, cache=options.cache)
        device = featurize_again(order, files, data, trunks, tell, plain)
        aligned = device.for_neck

    ahead = held_out_ahead(order, files, data, held_out, trunks)  # a head is trained on one core

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
            tail = open_tail(
                file, trunk, files.trunk.width, data.preprocessing, names, options.threads, options.cache, data.seen
            )
            ahead.settle(kind.trunk)
            try:
                judged[kind] = judge(file, reference, options.threads, tail)
            except EngineError as e:
                raise RefusedError(kind.trunk, trunk, e) from None
    return Fitted(files, trunks, plain, device.looks, aligned, embedded, reference, judged, fits)


def held_out_ahead(order: Order, files: TrunkFiles, data: Data, held_out: HeldOut, trunks: Trunks) -> ExactAhead:
    """Start to run trunks over the held-out images in the worker; the one that is verified last first."""
    kinds = list(dict.fromkeys(kind.trunk for kind in reversed(order.files)))
    return run_ahead(
        None if files.elsewhere is None else files.elsewhere.worker,
        [(kind, trunks[kind]) for kind in kinds],
        files.trunk.width,
        held_out.samples,
        data.preprocessing,
        order.options.cache,
        data.seen,
    )
