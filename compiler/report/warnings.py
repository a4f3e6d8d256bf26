"""Warnings about a build, in plain words; each with the evidence that it needs to be said.

The limits are round numbers, meant to be read with the counts beside them. `tools/docs` makes the table of
docs/report.md from what each function says of itself; the names of the limits become their values there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from tlc_edge.compiler.study.learning_curve import Curve

from .findings import ClassFindings, Findings
from .text import percent

FEW_TRAINING = 10
"""Training images of a class below which it has few."""
WIDE = 0.10
"""Width of an interval of accuracy from which on it says little."""
WEAK = 0.8
"""Share of a class's held-out images that should be found."""
UNEVEN = 3.0
"""Ratio of the largest to the smallest class from which on they are uneven."""
GOOD = 0.95
"""Accuracy above which nothing is holding the head back."""
UNDERFIT = 0.95
"""Accuracy on its own training images below which a head cannot tell the classes apart by what it is given."""
FLAT = 0.01
"""Accuracy that the last doubling of the images brings, below which the learning curve is flat."""
RISING = 0.02
"""The same, above which more images are likely to help."""
ENOUGH = 0.98
"""Accuracy from which on more images are not asked for."""
MISCALIBRATED = 0.05
"""Calibration error from which on probabilities are not to be taken at their word, where chance alone gives less."""
SURE = 0.9
"""Probability from which on a wrong answer suggests that the label is wrong."""
OVERLAPPING = 0.05
"""Share of odd training images above which the classes overlap, and the labels are not to blame."""
_FEW_JUDGES = 3  # held-out images below which a class is hardly judged at all


@dataclass(frozen=True)
class BuildWarning:
    """One thing that may be wrong with a bundle, or with what it was made from."""

    kind: str
    """A word for machines; docs/report.md lists them."""
    text: str
    """One or two sentences: what, how much, and what to do."""


def find_warnings(findings: Findings) -> tuple[BuildWarning, ...]:
    """Return the warnings, the most serious first."""
    found = [(kind, say(findings)) for kind, say in _WARNINGS]
    return tuple(BuildWarning(kind, text) for kind, text in found if text)


def holding_back(train_accuracy: float | None, high: float, curve: Curve) -> str | None:
    """Return the evidence that a head alone is not enough on this frozen trunk, or None where there is none.

    Either the head cannot even tell its own training images apart (below `UNDERFIT`), or accuracy is below `GOOD`
    for certain and the last doubling of the images brought next to nothing (below `FLAT`).

    Args:
        train_accuracy: of the head on its own training images; None without a head.
        high: upper end of the interval of the held-out accuracy.
        curve: the learning curve.
    """
    if train_accuracy is None or high >= GOOD:
        return None
    if train_accuracy < UNDERFIT:
        return f"it gets only {percent(train_accuracy)} of its own training images right"
    if curve.gain is not None and curve.gain < FLAT:
        half, full = curve.points[-2:]
        return (
            f"twice the training images ({half.images} to {full.images}) changed the accuracy only from "
            f"{percent(half.accuracy)} to {percent(full.accuracy)}"
        )
    return None


def _held_back(f: Findings) -> str | None:
    """Training a head alone is not enough: the accuracy is below `GOOD` for certain, and either the head gets less
    than `UNDERFIT` of its own training images right, or the last doubling of the images brought less than `FLAT`.
    """
    evidence = holding_back(f.study.train_accuracy, f.reference.accuracy.high, f.study.curve)
    if evidence is None:
        return None
    if f.manifest.head["kind"] == "prototype":
        return f"A head of class means is holding you back: {evidence}. Try --head linear."
    if f.manifest.head["kind"] == "file":
        return f"The head from the file does not suit these images: {evidence}. Compare it with --head linear."
    if f.settings.fine_tuned:
        return (
            f"Even after fine-tuning, the network does not tell these classes apart: {evidence}. Fine-tune more layers "
            "or longer, take a larger backbone, or look whether the labels can be told from the images at all."
        )
    if f.settings.fine_tune is not None:
        return (
            f"Training the head alone is holding you back: {evidence}. Fine-tuning was asked for and left the network "
            "as it was, as the notes of the build say: take more images, cut it elsewhere (tlc sweep compares cuts), "
            "or take a larger backbone."
        )
    # An ONNX file is not trained any further here.
    tune = "fine-tune it where it comes from" if f.reference.format == "onnx" else "fine-tune it (--fine-tune auto)"
    return (
        f"Training the head alone is holding you back: {evidence}. What the frozen network sees does not tell these "
        f"classes apart: {tune}, cut it elsewhere (tlc sweep compares cuts), or take a larger backbone."
    )


def _more_images(f: Findings) -> str | None:
    """The last doubling of the images brought `RISING` or more, to less than `ENOUGH`, and nothing is `held-back`."""
    gain, curve = f.study.curve.gain, f.study.curve
    if gain is None or gain < RISING or f.first.accuracy.share >= ENOUGH or _held_back(f):
        return None
    half, full = curve.points[-2:]
    return (
        f"More images are likely to help: the last doubling, from {half.images} to {full.images} training images, "
        f"brought {100 * gain:.1f} points of accuracy."
    )


def _copies(f: Findings) -> str | None:
    """One picture lies in two classes: a label is wrong."""
    wrong = [g for g in f.duplicates if len(g.labels) > 1]
    if not wrong:
        return None
    return (
        f"{_count(len(wrong), 'picture is', 'pictures are')} in two classes or more, so labels are wrong; "
        f"the first: {', '.join(wrong[0].images[:3])}."
    )


def _parted(f: Findings) -> str | None:
    """Copies of a picture could not be kept on one side of the split: the accuracy flatters."""
    parted = [g for g in f.duplicates if len(g.parts) > 1]
    if not parted:
        return None
    return (
        f"{_count(len(parted), 'picture has', 'pictures have')} copies both in training and held out: "
        "the accuracy flatters. Remove the copies, or take more different images."
    )


def _uncertain(f: Findings) -> str | None:
    """The interval of the accuracy is `WIDE` wide or more."""
    accuracy = f.first.accuracy
    if accuracy.width < WIDE:
        return None
    return (
        f"The accuracy is not well known: {_count(accuracy.total, 'held-out image', 'held-out images')} can only tell "
        f"that it lies between {percent(accuracy.low)} and {percent(accuracy.high)}. Four times as many would at "
        "least halve that range."
    )


def _few(f: Findings) -> str | None:
    """A class has fewer than `FEW_TRAINING` training images."""
    few = sorted((c for c in f.classes if c.train < FEW_TRAINING), key=lambda c: c.train)
    if not few:
        return None
    shown = _list([f"{c.label} ({c.train})" for c in few])
    return (
        f"Too little data: {_count(len(few), 'class has', 'classes have')} fewer than {FEW_TRAINING} training images: "
        f"{shown}."
    )


def _hardly_judged(f: Findings) -> str | None:
    """A class has fewer than `_FEW_JUDGES` held-out images."""
    few = [c for c in f.classes if c.held_out < _FEW_JUDGES]
    if not few:
        return None
    return (
        f"{_count(len(few), 'class is', 'classes are')} judged by fewer than {_FEW_JUDGES} held-out images: "
        f"{_list([c.label for c in few])}. The figures of single classes say little there."
    )


def _weak(f: Findings) -> str | None:
    """Less than `WEAK` of a class's held-out images are found."""

    def share(c: ClassFindings) -> float:
        return c.recall.share if c.recall else 1.0

    weak = sorted((c for c in f.classes if share(c) < WEAK and c.held_out >= _FEW_JUDGES), key=share)
    if not weak:
        return None
    shown = _list([f"{c.label} ({c.recall.right} of {c.held_out} found)" for c in weak if c.recall])
    return f"{_count(len(weak), 'class is', 'classes are')} often missed: {shown}."


def _uneven(f: Findings) -> str | None:
    """The largest class has `UNEVEN` times the training images of the smallest, or more."""
    largest, smallest = max(f.classes, key=lambda c: c.train), min(f.classes, key=lambda c: c.train)
    if largest.train < UNEVEN * max(1, smallest.train):
        return None
    return (
        f"The classes are uneven: {largest.label} has {largest.train} training images, {smallest.label} only "
        f"{smallest.train}. Training gives each class the same weight, but a few images show little of a class."
    )


def _miscalibrated(f: Findings) -> str | None:
    """The calibration error is `MISCALIBRATED` or more, and more than chance explains."""
    r = f.first.reliability
    if r is None or r.error < MISCALIBRATED or r.error <= r.chance:
        return None
    lean = "surer than it is right" if r.surplus > 0 else "right more often than it is sure"
    return (
        f"Probabilities are off by {100 * r.error:.0f} points on average (chance alone explains up to "
        f"{100 * r.chance:.0f}); the model is {lean}. Do not read 0.9 as nine in ten."
    )


def _lossy(f: Findings) -> str | None:
    """A file answers two images, and 1 % of them, fewer right than the float graph."""
    lossy = [x for x in f.files if f.reference.accuracy.right - x.accuracy.right >= max(2, 0.01 * len(f.truth))]
    if not lossy:
        return None
    lost = [f"{x.file} ({x.scheme}) by {f.reference.accuracy.right - x.accuracy.right} images" for x in lossy]
    return f"Lowering costs accuracy: {_list(lost)} of {len(f.truth)} behind the float graph."


def _suspects(f: Findings) -> str | None:
    """A held-out image is answered wrong with a probability of `SURE` or more."""
    sure = [m for m in f.wrong if (m.probability or 0) >= SURE]
    if not sure:
        return None
    return (
        f"{_count(len(sure), 'held-out image is', 'held-out images are')} answered wrong with a probability of "
        f"{SURE:g} or more; look at {'it' if len(sure) == 1 else 'them'} first, the label may be what is wrong: "
        f"{_list([m.image for m in sure])}."
    )


def _odd(f: Findings) -> str | None:
    """Of the `NEIGHBOURS` training images most like one, none has its label and `AGREEING` agree on another.

    Not said of more than `OVERLAPPING` of the images, as then the classes overlap.
    """
    count, total = len(f.study.odd), len(f.study.train_classes)
    if not 0 < count <= OVERLAPPING * total:
        return None
    return (
        f"{_count(count, 'training image looks', 'training images look')} like another class than "
        f"{'its' if count == 1 else 'their'} own; look whether {'its label is' if count == 1 else 'their labels are'} "
        f"wrong: {_list([o.image for o in f.odd])}."
    )


def _skipped(f: Findings) -> str | None:
    """Files could not be used."""
    if not f.skipped:
        return None
    return f"{_count(len(f.skipped), 'file', 'files')} could not be used; the first: {f.skipped[0].name}."


_WARNINGS: Sequence[tuple[str, Callable[[Findings], str | None]]] = (
    ("copies-in-classes", _copies),
    ("copies-in-parts", _parted),
    ("uncertain", _uncertain),
    ("few-training-images", _few),
    ("hardly-judged", _hardly_judged),
    ("held-back", _held_back),
    ("more-images", _more_images),
    ("weak-classes", _weak),
    ("suspect-labels", _suspects),
    ("odd-labels", _odd),
    ("uneven-classes", _uneven),
    ("miscalibrated", _miscalibrated),
    ("lossy", _lossy),
    ("skipped", _skipped),
)


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _list(texts: Iterable[str], most: int = 5) -> str:
    found = list(texts)
    more = f" and {len(found) - most} more" if len(found) > most else ""
    return ", ".join(found[:most]) + more
