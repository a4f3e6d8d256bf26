"""Findings: all that a report says about one bundle, computed once; how it looks is decided elsewhere.

They follow from the build's inputs alone. No time and no speed is among them, so that a build can be repeated to
the byte.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.data.duplicates import Group
from tlc_edge.compiler.data.records import Skipped
from tlc_edge.compiler.network.facts import of_onnx
from tlc_edge.compiler.records import Correction, Outputs
from tlc_edge.compiler.study.reliability import Reliability, measure_reliability
from tlc_edge.compiler.study.study import Study
from tlc_edge.compiler.verify.judge import Judged, Reference
from tlc_edge.compiler.verify.layer_errors import LayerError
from tlc_edge.compiler.verify.parity import NONE, REFERENCE, Parity
from tlc_edge.compiler.verify.statistics import wilson
from tlc_edge.runtime.bundle.manifest import Manifest

from .choices import Choice, list_choices
from .evidence import Evidence
from .settings import Settings

LISTED = 200
"""Images of one kind, or classes, that are listed by name, at most."""
_UNSURE = 8


@dataclass(frozen=True)
class Rate:
    """A share of counted things, with its 95 % Wilson interval."""

    right: int
    total: int
    share: float
    low: float
    high: float

    @property
    def width(self) -> float:
        """From the interval's lower to its upper end."""
        return self.high - self.low


def rate(right: int, total: int) -> Rate | None:
    """Return a share; None of nothing."""
    return Rate(right, total, right / total, *wilson(right, total)) if total else None


@dataclass(frozen=True)
class FileFindings:
    """How one file does on the held-out images."""

    file: str
    """`float graph` for the one that the files are measured against."""
    format: str
    scheme: str
    bytes: int
    engine: str
    accuracy: Rate
    agreement: float | None
    embedding_cosine: float | None
    reliability: Reliability | None
    """None without a head."""


@dataclass(frozen=True)
class ClassFindings:
    """How the first file does on one class."""

    label: str
    train: int
    held_out: int
    recall: Rate | None
    """Of its held-out images, those that were answered with it."""
    precision: Rate | None
    """Of the images that were answered with it, those that are of it; None where none was."""


@dataclass(frozen=True)
class AnsweredImage:
    """A held-out image with what the first file says to it."""

    index: int
    """Among the held-out images."""
    image: str
    truth: str
    answer: str
    probability: float | None
    """Of the answer; None without a head."""
    probability_of_truth: float | None


@dataclass(frozen=True)
class OddImage:
    """A training image with only images of other classes around it."""

    image: str
    label: str
    looks_like: str
    votes: int
    """How many of its nearest images are of that class; see `odd_labels`."""


@dataclass(frozen=True, eq=False)
class Findings:
    """All that is known about one bundle. What is measured is measured on held-out images."""

    manifest: Manifest
    """What was built and chosen; its `files` may still be empty."""
    labels: tuple[str, ...]
    """The classes of the data; the bundle's own may be none."""
    images: Mapping[str, int]
    """In each part of the split."""
    reference: FileFindings
    files: tuple[FileFindings, ...]
    """The one that the device prefers first; what follows is about that one."""
    classes: tuple[ClassFindings, ...]
    confusion: NDArray[np.int64]
    """[C, C], truth by answer."""
    right: NDArray[np.bool_]
    """Whether each held-out image was answered right, [N]."""
    truth: NDArray[np.int64]
    """Class of each held-out image, [N]."""
    names: tuple[str, ...]
    """Of the held-out images, [N]."""
    wrong: tuple[AnsweredImage, ...]
    """Wrong answers, the surest first; `LISTED` at most."""
    unsure: tuple[AnsweredImage, ...]
    """A few right answers, the least sure first."""
    odd: tuple[OddImage, ...]
    """The clearest first; `LISTED` at most."""
    study: Study
    settings: Settings
    skipped: tuple[Skipped, ...]
    duplicates: tuple[Group, ...]
    choices: tuple[Choice, ...]
    layers: Mapping[str, tuple[LayerError, ...]] = field(default_factory=dict[str, tuple[LayerError, ...]])
    """The trunk's layers in each file that is not float32, in the network's order, against the float trunk."""
    parity: Parity = NONE
    """Every two files of the build, other targets' too, and the float graph."""
    corrections: Mapping[str, Correction] = field(default_factory=dict[str, Correction])
    """What correcting the biases was worth, by the file whose trunk it was tried for."""

    @property
    def first(self) -> FileFindings:
        """The file that the device prefers."""
        return self.files[0]


def find(manifest: Manifest, evidence: Evidence, judged: Sequence[Judged]) -> Findings:
    """Compute the findings about a bundle whose files are `judged`."""
    held_out, study, labels, first = evidence.reference.held_out, evidence.study, evidence.data.labels, judged[0]
    truth = held_out.truth
    confusion = np.zeros((len(labels), len(labels)), np.int64)
    np.add.at(confusion, (truth, first.answers), 1)
    wrong, unsure = _images(evidence, first)
    return Findings(
        manifest=manifest,
        labels=labels,
        images=dict(evidence.data.counts),
        reference=_reference(evidence.reference),
        files=tuple(_file(j, truth) for j in judged),
        classes=tuple(_class(label, i, confusion, study) for i, label in enumerate(labels)),
        confusion=confusion,
        right=np.asarray(first.answers == truth, np.bool_),
        truth=truth,
        names=tuple(s.name for s in held_out.samples),
        wrong=wrong,
        unsure=unsure,
        odd=_odd(study, labels),
        study=study,
        settings=evidence.settings,
        skipped=evidence.data.skipped,
        duplicates=evidence.data.duplicates,
        choices=list_choices(manifest, evidence),
        layers={
            info.file: study.layers[info.format, info.scheme]
            for info in (j.file.info for j in judged)
            if (info.format, info.scheme) in study.layers
        },
        parity=study.parity,
        corrections={
            info.file: study.corrections[info.format, info.scheme]
            for info in (j.file.info for j in judged)
            if (info.format, info.scheme) in study.corrections
        },
    )


def _accuracy(answers: NDArray[np.int64], truth: NDArray[np.int64]) -> Rate:
    found = rate(int(np.count_nonzero(answers == truth)), len(truth))
    assert found is not None  # each class has a held-out image
    return found


def _reliability(outputs: Outputs, truth: NDArray[np.int64]) -> Reliability | None:
    return measure_reliability(outputs.probabilities, truth) if outputs.probabilities.shape[1] else None


def _reference(reference: Reference) -> FileFindings:
    outputs, truth = reference.outputs, reference.held_out.truth
    accuracy = _accuracy(reference.answers, truth)
    form, engine = ("onnx", "onnxruntime") if of_onnx(reference.fused.trunk) else ("keras", "tensorflow")
    return FileFindings(REFERENCE, form, "float32", 0, engine, accuracy, None, None, _reliability(outputs, truth))


def _file(judged: Judged, truth: NDArray[np.int64]) -> FileFindings:
    info, score = judged.file.info, judged.score
    return FileFindings(
        file=info.file,
        format=info.format,
        scheme=info.scheme,
        bytes=info.bytes,
        engine=score.engine,
        accuracy=_accuracy(judged.answers, truth),
        agreement=score.agreement,
        embedding_cosine=score.embedding_cosine,
        reliability=_reliability(judged.outputs, truth),
    )


def _class(label: str, index: int, confusion: NDArray[np.int64], study: Study) -> ClassFindings:
    found, held_out = int(confusion[index, index]), int(confusion[index].sum())
    return ClassFindings(
        label=label,
        train=int(study.train_counts[index]),
        held_out=held_out,
        recall=rate(found, held_out),
        precision=rate(found, int(confusion[:, index].sum())),
    )


def _images(evidence: Evidence, judged: Judged) -> tuple[tuple[AnsweredImage, ...], tuple[AnsweredImage, ...]]:
    """Return the wrong answers, the surest first, and the least sure of the right ones."""
    held_out, labels, answers = evidence.reference.held_out, evidence.data.labels, judged.answers
    truth = held_out.truth
    rows = np.arange(len(truth))
    given = judged.outputs.probabilities
    headless = given.shape[1] == 0
    stated = np.zeros(len(truth)) if headless else given[rows, answers]
    of_truth = np.zeros(len(truth)) if headless else given[rows, truth]

    def image(i: int) -> AnsweredImage:
        return AnsweredImage(
            index=i,
            image=held_out.samples[i].name,
            truth=labels[truth[i]],
            answer=labels[answers[i]],
            probability=None if headless else float(stated[i]),
            probability_of_truth=None if headless else float(of_truth[i]),
        )

    surest = np.argsort(of_truth - stated, kind="stable")
    wrong = [image(int(i)) for i in surest if answers[i] != truth[i]][:LISTED]
    doubtful = [] if headless else [image(int(i)) for i in np.argsort(stated, kind="stable") if answers[i] == truth[i]]
    return tuple(wrong), tuple(doubtful[:_UNSURE])


def _odd(study: Study, labels: tuple[str, ...]) -> tuple[OddImage, ...]:
    return tuple(
        OddImage(study.train_names[o.index], labels[study.train_classes[o.index]], labels[o.like], o.votes)
        for o in study.odd[:LISTED]
    )


def confused_pairs(findings: Findings) -> list[tuple[int, int, int]]:
    """Return images, truth and answer of every pair of classes that was confused, the commonest first."""
    off = findings.confusion.copy()
    np.fill_diagonal(off, 0)
    pairs = [(int(off[i, j]), int(i), int(j)) for i, j in zip(*np.nonzero(off), strict=True)]
    return sorted(pairs, key=lambda p: (-p[0], p[1], p[2]))


def worst_class(findings: Findings) -> ClassFindings | None:
    """Return the class of which the smallest share was found, None where all of each was; of equals the larger one."""
    missed = [c for c in findings.classes if c.recall and c.recall.share < 1]
    return min(missed, key=lambda c: (c.recall.share if c.recall else 1.0, -c.held_out), default=None)
