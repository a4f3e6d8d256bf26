"""Verify a bundle on any data, later: each file in each engine, against the labels, the float file and each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.data.decode import decode_all
from tlc_edge.compiler.data.records import Dataset, Skipped
from tlc_edge.compiler.records import Outputs
from tlc_edge.runtime.bundle.bundle import Bundle
from tlc_edge.runtime.bundle.manifest import ModelFile
from tlc_edge.runtime.engines.open import KINDS, EngineKind, choose, open_model, outputs_for
from tlc_edge.runtime.errors import DataError, EngineError, TlcError, first_line, unknown_name
from tlc_edge.runtime.progress import Count, silent
from tlc_edge.targets.schemes import FLOAT32

from .judge import run_engine
from .parity import Parity, compare
from .statistics import cosines, top_class

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
    names = [kind.name for kind in KINDS]
    if engine not in (None, ALL):
        if engine not in names:
            raise unknown_name("engine", engine, [*names, ALL])
        choose(manifest.models, engine)  # says what is missing, before an image is read
    plan = [
        (model, kind)
        for model in sorted(manifest.models, key=lambda m: m.scheme != FLOAT32.name)  # the reference first
        for kind in _engines(model, engine)
    ]
    if len(plan) == 1 and not set(dataset.labels) & set(manifest.labels):
        raise _nothing_to_tell(bundle, dataset)
    samples, images, skipped = decode_all(dataset.samples, manifest.preprocessing)
    place = {label: i for i, label in enumerate(manifest.labels)}
    truth = np.array([place.get(s.label, UNKNOWN) for s in samples], np.int64)
    runs: list[tuple[ModelFile, str, Outputs]] = []
    problems: list[str] = []
    if engine == ALL:
        read = {model.format for model in manifest.models}
        problems += [
            f"{kind.name} is not installed, so it was left out; to have it too, run: pip install {kind.name}"
            for kind in KINDS
            if kind.format in read and not kind.installed
        ]
    for model, kind in plan:
        try:
            runs.append((model, kind.name, _run(bundle, model, kind, threads or 0, images, progress)))
        except EngineError as e:
            if engine != ALL:
                raise
            problems.append(str(e))
    if not runs:
        choose(manifest.models, None if engine == ALL else engine)
        raise EngineError(problems[0] if problems else f"{bundle.path}: no engine here runs any of its models")
    if len(runs) == 1 and not (truth != UNKNOWN).any():
        raise _nothing_to_tell(bundle, dataset)
    reference = next((outputs for model, _, outputs in runs if model.scheme == FLOAT32.name), None)
    parity = compare({f"{model.file} on {name}": outputs for model, name, outputs in runs})
    order = [m.file for m in manifest.models]
    runs.sort(key=lambda run: order.index(run[0].file))
    return Verified(
        images=len(samples),
        judged=int(np.count_nonzero(truth != UNKNOWN)),
        scores=tuple(_score(model, name, truth, outputs, reference) for model, name, outputs in runs),
        parity=parity,
        skipped=tuple(skipped),
        problems=tuple(problems),
        notes=_left_out(manifest.labels, [s.label for s in samples]),
    )


def _score(
    model: ModelFile, engine: str, truth: NDArray[np.int64], outputs: Outputs, reference: Outputs | None
) -> FileScore:
    accuracy = agreement = cosine = None
    if reference is not None:
        cosine = float(np.mean(cosines(outputs.embeddings, reference.embeddings)))
    if outputs.probabilities.shape[1]:
        answers, known = top_class(outputs), truth != UNKNOWN
        accuracy = float(np.mean((answers == truth)[known])) if known.any() else None
        agreement = None if reference is None else float(np.mean(answers == top_class(reference)))
    return FileScore(model.file, engine, model.scheme, model.bytes, accuracy, agreement, cosine)


def _left_out(labels: Sequence[str], found: Sequence[str]) -> tuple[str, ...]:
    """Return what is to be said of images, each with its label in `found`, that no accuracy can count."""
    if not labels:
        return ("the bundle has no classes of its own, so there is no accuracy to tell",)
    foreign = sorted(set(found) - set(labels))
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
