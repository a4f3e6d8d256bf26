"""Fit: head and neck to the trunks as the device will run them, and each file against the float graph.

These steps are repeated whole when a trunk is replaced (see `ladder`): a head has to know the trunk that it sits on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.cache.folder import caching
from tlc_edge.compiler.data.records import Sample
from tlc_edge.compiler.data.views import PLAIN, View
from tlc_edge.compiler.features.align import align
from tlc_edge.compiler.features.featurize import TrunkFile, featurize, trunk_file
from tlc_edge.compiler.features.reference import run_keras
from tlc_edge.compiler.features.trunk_files import TrunkFiles
from tlc_edge.compiler.limits.check import Fit, check_limits
from tlc_edge.compiler.lower.file_kinds import FileKind, TrunkKind, file_kinds
from tlc_edge.compiler.lower.formats import make_model
from tlc_edge.compiler.train.head_file import is_head_file, load_head
from tlc_edge.compiler.train.heads import train_head
from tlc_edge.compiler.train.neck import make_neck
from tlc_edge.compiler.train.whiten import whiten
from tlc_edge.compiler.verify.judge import Answers, Judged, Labelled, judge
from tlc_edge.runtime.bundle.manifest import Preprocessing
from tlc_edge.targets import Target
from tlc_edge.targets.schemes import FLOAT32, SCHEMES

from .options import Options
from .records import Floats, Fused, LoweredTrunk, Neck, Outputs
from .steps import Steps


@dataclass(frozen=True, eq=False)
class Material:
    """What a head is trained on, and what every file is judged by."""

    files: TrunkFiles
    training: Sequence[Sample]
    features: Floats
    """What the float trunk gives for the training images, [M, F]."""
    truth: NDArray[np.int64]
    """[M]"""
    labels: tuple[str, ...]
    views: Sequence[View]
    """Ways to change the training images, for copies."""
    preprocessing: Preprocessing
    held_out: NDArray[np.uint8]
    """[N, H, W, C]"""
    held_truth: NDArray[np.int64]
    """[N]"""


@dataclass(frozen=True, eq=False)
class Fitted:
    """One head and neck, and every file with them."""

    trunks: Mapping[TrunkKind, LoweredTrunk]
    """By what a target asks for; what it gets may have another scheme."""
    fused: Fused
    plain: Neck
    """The neck before it was whitened."""
    seen: Mapping[TrunkKind, Floats]
    """What each TFLite or int8 trunk gives for the training images, aligned, [M, F]."""
    embedded: Floats
    """The training images as the float trunk and the neck see them, [M, D]."""
    labelled: Labelled
    """The held-out images."""
    reference: Outputs
    """The float graph on them."""
    judged: Mapping[FileKind, Judged]
    fits: Mapping[str, tuple[Fit, ...]]
    """What each target's files need of the device, by the target's name, in the order of its files."""

    @property
    def float_accuracy(self) -> float:
        """Of the float graph on the held-out images."""
        return self.labelled.accuracy(self.reference)


def fit(
    given: Material,
    trunks: Mapping[TrunkKind, LoweredTrunk],
    targets: Sequence[Target],
    options: Options,
    step: Steps,
) -> Fitted:
    """Train or load the head, attach it to every trunk, and run the targets' files over the held-out images.

    Raises:
        BuildError: a file is not for its device; see `check_limits`.
    """
    trunk = given.files.trunk
    kinds = {t.name: file_kinds(t, options.scheme, options.onnx_scheme) for t in targets}

    # As the device will see the images, and copies of them.
    with step("featurize again") as report, caching(options.cache) as cache:

        def through(device: TrunkFile, view: View = PLAIN) -> Floats:
            spec, threads = given.preprocessing, options.threads
            return featurize(device, given.training, spec, threads, report, cache=cache, view=view).features

        plain = make_neck(trunk, given.features)
        exact = ("tflite", FLOAT32.name)
        raw: dict[TrunkKind, Floats] = {exact: given.features}
        last, device = exact, given.files.as_float()
        for key, file in trunks.items():
            if key not in raw and (file.format == "tflite" or SCHEMES[file.scheme].calibrated):
                raw[key] = through(trunk_file(file, trunk.width))
                if file.format == "tflite":
                    last, device = key, trunk_file(file, trunk.width)
        # Head and neck are trained on aligned features; the alignment goes into their weights when they are attached.
        aligned = {key: align(x, given.features) for key, x in raw.items() if key != exact and plain.kernel is not None}
        seen = {key: aligned[key].apply(x) if key in aligned else x for key, x in raw.items()}
        varied = [through(device, view) for view in given.views]
        if last in aligned:
            varied = [aligned[last].apply(x) for x in varied]

    with step("train head") as report:  # on what float and device trunks give: it learns to bear the difference
        if is_head_file(options.head):
            head = load_head(options.head, trunk.width, given.labels)
        else:
            ways = [*varied, *seen.values()]
            head = train_head(options.head, ways, given.truth, len(given.labels), options.seed, report)
        neck = whiten(plain, list(seen.values()), given.truth)
        embedded = neck.project(given.features)

    with step("fuse"):  # head and neck are written into the lowered trunks
        fused = Fused(trunk, neck, head, given.labels if head.layers else (), given.preprocessing)
        lowered = {
            kind: make_model(trunks[kind.trunk], own, raw.get(kind.trunk), kind)
            for kind in dict.fromkeys(kind for of_target in kinds.values() for kind in of_target)
            for own in (aligned[kind.trunk].fold(fused) if kind.trunk in aligned else fused,)
        }

    with step("check limits"):  # before the long verification: what the device cannot have needs none
        fits = {t.name: check_limits(t, [lowered[kind] for kind in kinds[t.name]], fused) for t in targets}

    with step("verify") as report, caching(options.cache) as cache:
        labelled = Labelled(given.held_out, given.held_truth, Answers(embedded, given.truth))
        reference = run_keras(fused, given.held_out, report, cache)
        judged = {key: judge(file, labelled, reference, options.threads) for key, file in lowered.items()}
    return Fitted(trunks, fused, plain, seen, embedded, labelled, reference, judged, fits)
