"""Verify a bundle on any data, later: each file in each engine, against the labels, the float file and each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.data.decode import decode_all
from tlc_edge.compiler.data.records import Dataset, Sample, Skipped, refuse
from tlc_edge.compiler.records import Outputs
from tlc_edge.runtime.bundle.bundle import Bundle
from tlc_edge.runtime.bundle.manifest import ModelFile
from tlc_edge.runtime.engines.open import KINDS, EngineKind, choose, open_model, outputs_for
from tlc_edge.runtime.errors import DataError, EngineError, TlcError, first_line, unknown_name
from tlc_edge.runtime.images.nothing import ONE_COLOUR, is_one_colour, thumbnail
from tlc_edge.runtime.progress import Count, silent
from tlc_edge.targets.schemes import FLOAT32

from .demands import ClassRecall, recalls
from .judge import run_engine
from .parity import Parity, compare
from .statistics import cosines, top_class, wilson

ALL = "all"
"""In place of an engine's name: every one that is installed and reads the file."""
UNKNOWN = -1
"""In place of the number of a class: one that the bundle does not know."""


@dataclass(frozen=True)
class FileScore:
    """How one file did in one engine."""

    file: str
    engine: str
    scheme: str
    bytes: int
    accuracy: float | None
    """On the images of classes that the bundle knows; None where there is none."""
    agreement: float | None
    """Share of all images on which it names the same class as the bundle's own float32 file; None where that is not
    there or could not be run, or the bundle has no classes."""
    embedding_cosine: float | None
    """Mean cosine of its embedding to that of the float32 file; None without one."""
    right: int | None = None
    """Right answers on these images; None as for the accuracy."""
    interval: tuple[float, float] | None = None
    """95 %, of the accuracy."""
    classes: tuple[ClassRecall, ...] = ()
    """The bundle's classes of which there are images, by the bundle's order."""


@dataclass(frozen=True)
class Verified:
    """How the files of a bundle did."""

    images: int
    judged: int
    """Those of them whose class the bundle knows: the accuracy is theirs."""
    scores: tuple[FileScore, ...]
    """One for each file in each engine, in the manifest's order."""
    parity: Parity
    """Each of these against each other, on all images."""
    skipped: tuple[Skipped, ...]
    problems: tuple[str, ...] = ()
    """Engines that were asked for with `all` and are not installed, or could not run a file."""
    notes: tuple[str, ...] = ()
    """What the accuracy leaves out, and why; a sentence each, for people."""


def verify_bundle(
    bundle: Bundle,
    dataset: Dataset,
    engine: str | None = None,
    threads: int | None = None,
    progress: Count = silent,
) -> Verified:
    """Run every model of a bundle that an engine here can run over a data set.

    `engine` is the name of one, `all`, or None for the best of each file. Images of a class that the bundle does not
    know count for the parity only; so does every image where the bundle has no classes (built without a head).

    Raises:
        UsageError: there is no such engine, or it reads none of the files.
        DataError: no readable image; or none of a class that the bundle knows, and no two files or engines to compare.
        EngineError: no model can be run.
    """
    manifest = bundle.manifest
    _check_engine(bundle, engine)
    plan = _plan(bundle, engine)
    if len(plan) == 1 and not set(dataset.labels) & set(manifest.labels):
        raise _nothing_to_tell(bundle, dataset)
    samples, images, skipped = _with_something(*decode_all(dataset.samples, manifest.preprocessing))
    place = {label: i for i, label in enumerate(manifest.labels)}
    truth = np.array([place.get(s.label, UNKNOWN) for s in samples], np.int64)
    runs, failures = _run_all(bundle, plan, engine, threads or 0, images, progress)
    if len(runs) == 1 and not (truth != UNKNOWN).any():
        raise _nothing_to_tell(bundle, dataset)
    reference = next((run.outputs for run in runs if run.model.scheme == FLOAT32.name), None)
    order = [m.file for m in manifest.models]
    in_order = sorted(runs, key=lambda run: order.index(run.model.file))
    return Verified(
        images=len(samples),
        judged=int(np.count_nonzero(truth != UNKNOWN)),
        scores=tuple(_score(run, truth, reference, manifest.labels) for run in in_order),
        parity=compare({f"{run.model.file} on {run.engine}": run.outputs for run in runs}),
        skipped=tuple(skipped),
        problems=(*(_not_installed(bundle) if engine == ALL else ()), *failures),
        notes=_not_judged(manifest.labels, [s.label for s in samples]),
    )


def _with_something(
    samples: list[Sample], images: NDArray[np.uint8], skipped: list[Skipped]
) -> tuple[list[Sample], NDArray[np.uint8], list[Skipped]]:
    """Leave out images with nothing on them, as a build does.

    Raises:
        DataError: there is no other.
    """
    shown = [not is_one_colour(thumbnail(image)) for image in images]
    blank = [Skipped(s.name, ONE_COLOUR, s.label) for s, kept in zip(samples, shown, strict=True) if not kept]
    if len(blank) == len(samples):
        raise refuse([*skipped, *blank])
    kept = [s for s, something in zip(samples, shown, strict=True) if something]
    return kept, images[np.array(shown)] if blank else images, [*skipped, *blank]


@dataclass(frozen=True, eq=False)
class _Run:
    """What one file gave in one engine."""

    model: ModelFile
    engine: str
    outputs: Outputs


def _check_engine(bundle: Bundle, engine: str | None) -> None:
    """Check, before an image is read, that an engine there is was asked for, and that it reads one of the files."""
    if engine in (None, ALL):
        return
    names = [kind.name for kind in KINDS]
    if engine not in names:
        raise unknown_name("engine", engine, [*names, ALL])
    choose(bundle.manifest.models, engine)  # says what is missing


def _plan(bundle: Bundle, engine: str | None) -> list[tuple[ModelFile, EngineKind]]:
    """Return which file is to be run in which engine, the reference first."""
    models = sorted(bundle.manifest.models, key=lambda m: m.scheme != FLOAT32.name)
    return [(model, kind) for model in models for kind in _engines(model, engine)]


def _not_installed(bundle: Bundle) -> tuple[str, ...]:
    """Return what is to be said of engines that read a file of the bundle and are not here."""
    read = {model.format for model in bundle.manifest.models}
    return tuple(
        f"{kind.name} is not installed, so it was left out; to have it too, run: pip install {kind.name}"
        for kind in KINDS
        if kind.format in read and not kind.installed
    )


def _run_all(
    bundle: Bundle,
    plan: Sequence[tuple[ModelFile, EngineKind]],
    engine: str | None,
    threads: int,
    images: NDArray[np.uint8],
    progress: Count,
) -> tuple[list[_Run], list[str]]:
    """Run files over all images; return with them why some could not be run, where all engines were asked for.

    Raises:
        EngineError: one that was asked for by its name cannot run a file, or none can run any.
    """
    runs: list[_Run] = []
    failures: list[str] = []
    for model, kind in plan:
        try:
            runs.append(_Run(model, kind.name, _run(bundle, model, kind, threads, images, progress)))
        except EngineError as e:
            if engine != ALL:
                raise
            failures.append(str(e))
    if not runs:
        choose(bundle.manifest.models, None if engine == ALL else engine)
        problems = [*(_not_installed(bundle) if engine == ALL else ()), *failures]
        raise EngineError(problems[0] if problems else f"{bundle.path}: no engine here runs any of its models")
    return runs, failures


def _score(run: _Run, truth: NDArray[np.int64], reference: Outputs | None, labels: Sequence[str]) -> FileScore:
    model, outputs = run.model, run.outputs
    accuracy = agreement = cosine = None
    if reference is not None:
        cosine = float(np.mean(cosines(outputs.embeddings, reference.embeddings)))
    if outputs.probabilities.shape[1]:
        answers, known = top_class(outputs), truth != UNKNOWN
        agreement = None if reference is None else float(np.mean(answers == top_class(reference)))
        if known.any():
            accuracy = float(np.mean((answers == truth)[known]))
            right, judged = int((answers == truth)[known].sum()), int(known.sum())
            found = tuple(one for one in recalls(answers, truth, labels) if one.images)
            more = (right, wilson(right, judged), found)
            return FileScore(model.file, run.engine, model.scheme, model.bytes, accuracy, agreement, cosine, *more)
    return FileScore(model.file, run.engine, model.scheme, model.bytes, accuracy, agreement, cosine)


def _not_judged(labels: Sequence[str], found: Sequence[str]) -> tuple[str, ...]:
    """Return what is to be said of images, each with its label in `found`, that no accuracy can count."""
    if not labels:
        return ("the bundle has no classes of its own, so there is no accuracy to tell",)
    foreign = sorted(set(found) - {*labels, ""})
    if not foreign:
        return ()
    count = sum(label not in labels for label in found)
    return (
        f"{count} of {len(found)} images are of classes that the bundle does not know ({_listed(foreign)}): they count "
        f"for the comparison of the models, not for the accuracy; it knows {_listed(labels)}",
    )


def _nothing_to_tell(bundle: Bundle, dataset: Dataset) -> DataError:
    """Return the error for one model in one engine, and no image that it could be right about."""
    labels = bundle.manifest.labels
    if not dataset.labels:
        return DataError(
            f"{dataset.origin}: images without labels can only compare models, and one model in one engine has no "
            "other; give labelled ones with --data, or try --engine all"
        )
    why = (
        f"{dataset.origin}: no readable image is of a class that the bundle knows ({_listed(labels)})"
        if labels
        else f"{bundle.path}: the bundle has no classes of its own, so there is no accuracy to tell"
    )
    return DataError(
        f"{why}, and one model in one engine has no other to be compared with; whether it gives what it must on this "
        f"device: tlc selftest {bundle.path}"
    )


def _listed(labels: Sequence[str]) -> str:
    return ", ".join(labels[:12]) + (f", … ({len(labels)} in all)" if len(labels) > 12 else "")


def _run(
    bundle: Bundle, model: ModelFile, kind: EngineKind, threads: int, images: NDArray[np.uint8], progress: Count
) -> Outputs:
    """Run one file over all images.

    Raises:
        EngineError: the engine refuses the file, or fails while it runs it.
    """
    outputs = outputs_for(bundle.manifest.labels)
    opened = open_model(kind, bundle.read(model.file), threads, outputs, model.file)
    try:
        return run_engine(opened, images, progress)
    except Exception as e:
        # onnxruntime raises types of its own that share no base but Exception; what else can fail here is ours to see.
        if not isinstance(e, RuntimeError | ValueError) and not type(e).__module__.startswith("onnxruntime"):
            raise
        raise EngineError(
            f"{kind.name} failed while it ran {model.file} ({first_line(e)}); try another --engine"
        ) from None


def _engines(model: ModelFile, engine: str | None) -> Iterator[EngineKind]:
    """Yield what a file is to be run with."""
    if engine == ALL:
        yield from (kind for kind in KINDS if kind.format == model.format and kind.installed)
        return
    try:
        yield choose([model], engine)[0]
    except TlcError:
        return  # another file of the bundle may be run
