"""Findings made from a few numbers: what a build hands to the report, without a build."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.data.duplicates import Group
from tlc_edge.compiler.data.prepared import Data, HeldOut
from tlc_edge.compiler.data.records import Sample, Skipped
from tlc_edge.compiler.data.split import Split
from tlc_edge.compiler.records import (
    Backbone,
    Floats,
    Fused,
    Head,
    InputSpec,
    Lowered,
    Neck,
    Outputs,
    Provenance,
    Score,
    Trunk,
)
from tlc_edge.compiler.report.evidence import Evidence, Exemplars, Pictures
from tlc_edge.compiler.report.findings import Findings, find
from tlc_edge.compiler.report.settings import Settings
from tlc_edge.compiler.study.embedding_map import EmbeddingMap, draw_map
from tlc_edge.compiler.study.learning_curve import Curve
from tlc_edge.compiler.study.odd_labels import Odd
from tlc_edge.compiler.study.study import Study
from tlc_edge.compiler.verify.judge import Answers, Judged, Reference
from tlc_edge.runtime.bundle.manifest import Manifest, ModelFile, Preprocessing

NO_MAP = EmbeddingMap("PCA", np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 2), np.float32))
TOO_LITTLE = Curve("", (), "too little data: the smallest class has 3 training images, 4 are needed")


def outputs(truth: NDArray[np.int64], answers: NDArray[np.int64], sure: float, classes: int) -> Outputs:
    """Return outputs that give `answers` with the probability `sure`, and embeddings that follow the truth."""
    probabilities = np.full((len(truth), classes), (1 - sure) / max(1, classes - 1), np.float32)
    probabilities[np.arange(len(truth)), answers] = sure
    return Outputs(probabilities, embeddings(truth, classes))


def embeddings(classes: NDArray[np.int64], count: int) -> Floats:
    """Return a point near its class's own direction for each image, [N, count + 2]."""
    generator = np.random.default_rng(1)
    return np.asarray(np.eye(count + 2)[classes] + 0.1 * generator.random((len(classes), count + 2)), np.float32)


def make(
    labels: Sequence[str],
    held_out: int,
    *,
    train: Sequence[int] | int = 12,
    wrong: Sequence[int] = (),
    sure: float = 0.9,
    headless: bool = False,
    names: Sequence[str] | None = None,
    skipped: Sequence[Skipped] = (),
    duplicates: Sequence[Group] = (),
    curve: Curve = TOO_LITTLE,
    train_accuracy: float = 1.0,
    kind: str = "linear",
    mapped: bool = True,
    odd: Sequence[Odd] = (),
    fine_tune: str = "none",
    fine_tuned: bool = True,
    said: str | None = None,
) -> tuple[Findings, Pictures]:
    """Return the findings about a bundle of one float file, and pictures for its report.

    The held-out image i is of class i modulo their number; those in `wrong` are answered with the next class. `said`
    stands wherever the manifest holds words of a user or of a profile.
    """
    count = len(labels)
    counts = np.full(count, train) if isinstance(train, int) else np.array(train)
    own = np.repeat(np.arange(count), counts).astype(np.int64)
    truth = (np.arange(held_out) % count).astype(np.int64)
    answers = truth.copy()
    answers[list(wrong)] = (answers[list(wrong)] + 1) % count
    given = outputs(truth, answers, sure, count)
    if headless:
        given = Outputs(given.probabilities[:, :0], embeddings(answers, count))
    samples = tuple(
        Sample(np.zeros((8, 8, 3), np.uint8), labels[c], None, names[i] if names else f"{labels[c]}/{i}.png")
        for i, c in enumerate(truth.tolist())
    )
    train_samples = tuple(
        Sample(np.zeros((8, 8, 3), np.uint8), labels[c], None, f"{labels[c]}/t{i}.png")
        for i, c in enumerate(own.tolist())
    )
    images = np.random.default_rng(0).integers(0, 255, (held_out, 8, 8, 3), np.uint8)
    head = Head("none" if headless else kind, ())
    info = ModelFile("model.tflite", "tflite", "float32", 4_000_000)
    scored = Score(info.file, "ai-edge-litert", info.scheme, info.bytes, float(np.mean(answers == truth)), 1.0, 1.0)
    study = Study(
        train_accuracy=None if headless else train_accuracy,
        train_counts=counts.astype(np.int64),
        curve=curve,
        map=draw_map(embeddings(own, count), own, given.embeddings, truth, 0) if mapped else NO_MAP,
        train_names=tuple(s.name for s in train_samples),
        train_classes=own,
        odd=tuple(odd),
        macs=384_000_000,
    )
    fused = Fused(_trunk(), Neck("none", count + 2), head, tuple(labels), Preprocessing(8, 8))
    held = HeldOut(samples, images, truth, np.zeros(held_out, np.bool_))
    data = Data(
        samples=train_samples + samples,
        labels=tuple(labels),
        classes=np.concatenate([own, truth]),
        parts=Split(np.arange(len(own)), len(own) + np.arange(held_out), np.zeros(0, np.int64)),
        features=np.zeros((len(own) + held_out, 4), np.float32),
        preprocessing=Preprocessing(8, 8),
        skipped=tuple(skipped),
        duplicates=tuple(duplicates),
    )
    evidence = Evidence(
        data=data,
        reference=Reference(fused, held, given, Answers(embeddings(own, count), own)),
        exemplars=Exemplars((), own[:0]),
        unknown={},
        study=study,
        settings=Settings(
            0,
            2.0,
            4,
            ladder={said: said} if said else {},
            fine_tune=None if fine_tune == "none" else fine_tune,
            fine_tuned=fine_tune != "none" and fine_tuned,
        ),
    )
    judged = Judged(Lowered(info, b""), (), given, answers, scored)
    return find(_manifest(labels, head, info, said), evidence, [judged]), Pictures(images, images[: len(odd)])


def _trunk() -> Trunk:
    backbone = Backbone("tiny", None, InputSpec(8, 8), Provenance("a test", "", "Apache-2.0", "nothing"), "last")
    return Trunk(backbone, "last", "avg", None, 4)


def _manifest(labels: Sequence[str], head: Head, info: ModelFile, said: str | None) -> Manifest:
    target: dict[str, Any] = {"name": "rpi", "title": "A board"}
    foreign: dict[str, Any] = {}
    if said:
        expect = [{"what": said, "milliseconds": 12.5, "source": said}]
        target = {"name": said, "title": said, "notes": [said], "expect": expect}
        foreign = {"foreign_images": 3, "foreign": said, "false_accepts": 1}
    return Manifest(
        fingerprint="f" * 64,
        labels=() if head.kind == "none" else tuple(labels),
        preprocessing=Preprocessing(8, 8),
        models=(info,),
        embedding_width=len(labels) + 2,
        scheme="float32",
        target=target,
        backbone={
            **{"name": said or "tiny", "source": said or "a test"},
            **{"licence": said or "Apache-2.0", "pretrained_on": said or "nothing"},
        },
        shave={"layer": said or "last", "pool": "avg", "width": 4},
        neck={"kind": "none", "width": len(labels) + 2},
        head={"kind": head.kind, **({said: said} if said else {})},
        metrics={"unknown": {"rate": 0.05, "test_images": 4 if said else 0, "false_alarms": 0, **foreign}},
        versions={"tlc": "0.1.0", **({said: said} if said else {})},
    )
