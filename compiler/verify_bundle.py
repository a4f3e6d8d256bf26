"""Verify a bundle on any data, later: each file in each engine, against the labels, the float file and each other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tlc.runtime.bundle import Bundle
from tlc.runtime.engines import KINDS, EngineKind, choose, open_model
from tlc.runtime.errors import DataError, EngineError, TlcError, unknown_name
from tlc.runtime.manifest import ModelFile
from tlc.runtime.progress import Count, silent

from .data import Dataset, Skipped, decode_all
from .parity import Parity, compare
from .records import Outputs, Score
from .verify import run_engine, score, top_class

ALL = "all"
"""In place of an engine's name: every one that is installed and reads the file."""


@dataclass(frozen=True)
class Verified:
    """How the files of a bundle did."""

    images: int
    scores: tuple[Score, ...]
    """One for each file in each engine, in the manifest's order. Agreement and cosine are against the bundle's own
    float32 file, where it has one and it could be run."""
    parity: Parity
    """Each of these against each other."""
    skipped: tuple[Skipped, ...]
    problems: tuple[str, ...] = ()
    """Engines that were asked for with `all` and are not installed, or could not run a file."""


def verify_bundle(
    bundle: Bundle,
    dataset: Dataset,
    engine: str | None = None,
    threads: int | None = None,
    progress: Count = silent,
) -> Verified:
    """Run every model of a bundle that an engine here can run over a data set.

    `engine` is the name of one, `all`, or None for the best of each file.

    Raises:
        UsageError: there is no such engine, or it reads none of the files.
        DataError: the data set has classes that the bundle does not know, or no readable image.
        EngineError: no model can be run.
    """
    manifest = bundle.manifest
    foreign = sorted(set(dataset.labels) - set(manifest.labels))
    if not manifest.labels:
        raise DataError(f"{bundle.path}: the bundle has no classes of its own, so labelled images cannot judge it")
    if foreign:
        raise DataError(
            f"{dataset.origin}: the bundle has no class {foreign[0]!r} ({len(foreign)} such in all); "
            f"it knows {', '.join(manifest.labels[:12])}: leave the others out"
        )
    names = [kind.name for kind in KINDS]
    if engine not in (None, ALL):
        if engine not in names:
            raise unknown_name("engine", engine, [*names, ALL])
        choose(manifest.models, engine)  # says what is missing, before an image is read
    samples, images, skipped = decode_all(dataset.samples, manifest.preprocessing)
    truth = np.array([manifest.labels.index(s.label) for s in samples], np.int64)
    runs: list[tuple[ModelFile, str, Outputs]] = []
    problems: list[str] = []
    if engine == ALL:
        read = {model.format for model in manifest.models}
        problems += [
            f"{kind.name} is not installed, so it was left out; to have it too, run: pip install {kind.name}"
            for kind in KINDS
            if kind.format in read and not kind.installed
        ]
    for model in sorted(manifest.models, key=lambda m: m.scheme != "float32"):  # the reference first
        for kind in _engines(model, engine):
            try:
                runs.append((model, kind.name, _run(bundle, model, kind, threads or 0, images, progress)))
            except EngineError as e:
                if engine != ALL:
                    raise
                problems.append(str(e))
    if not runs:
        choose(manifest.models, None if engine == ALL else engine)
        raise EngineError(problems[0] if problems else f"{bundle.path}: no engine here runs any of its models")
    references = [(top_class(outputs), outputs) for model, _, outputs in runs if model.scheme == "float32"]
    reference = references[0] if references else None
    parity = compare({f"{model.file} on {name}": outputs for model, name, outputs in runs})
    order = [m.file for m in manifest.models]
    runs.sort(key=lambda run: order.index(run[0].file))
    scores = [score(model, name, top_class(o), truth, o, reference) for model, name, o in runs]
    return Verified(len(samples), tuple(scores), parity, tuple(skipped), tuple(problems))


def _run(
    bundle: Bundle, model: ModelFile, kind: EngineKind, threads: int, images: NDArray[np.uint8], progress: Count
) -> Outputs:
    """Run one file over all images.

    Raises:
        EngineError: the engine refuses the file, or fails while it runs it.
    """
    opened = open_model(kind, bundle.read(model.file), threads, file=model.file)
    try:
        return run_engine(opened, images, progress)
    except Exception as e:
        # onnxruntime raises types of its own that share no base but Exception; what else can fail here is ours to see.
        if not isinstance(e, RuntimeError | ValueError) and not type(e).__module__.startswith("onnxruntime"):
            raise
        reason = str(e).strip().split("\n")[0]
        raise EngineError(f"{kind.name} failed while it ran {model.file} ({reason}); try another --engine") from None


def _engines(model: ModelFile, engine: str | None) -> Iterator[EngineKind]:
    """Yield what a file is to be run with."""
    if engine == ALL:
        yield from (kind for kind in KINDS if kind.format == model.format and kind.installed)
        return
    try:
        yield choose([model], engine)[0]
    except TlcError:
        return  # another file of the bundle may be run
