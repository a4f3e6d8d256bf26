"""Verify a bundle from where its images are to what is to be said: what `tlc verify` does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tlc_edge.compiler.data.load import Origin, load_dataset
from tlc_edge.compiler.data.unlabelled import unlabelled
from tlc_edge.compiler.steps import Progress, no_progress
from tlc_edge.runtime.bundle.bundle import Bundle
from tlc_edge.runtime.errors import DataError, TlcError

from .bundle import Verified, verify_bundle
from .bundle_layers import verify_layers
from .demands import Demands
from .layer_errors import LayerError

NO_DEMANDS = Demands()


@dataclass(frozen=True)
class Verification:
    """What was measured, and what a person must know of it."""

    found: Verified
    layers: Mapping[str, tuple[LayerError, ...]] | None
    """The layers of each smaller file in the network's order; None where they were not asked for, or cannot be had."""
    notes: tuple[str, ...]
    """What was assumed of the data, what the accuracy leaves out, and why there are no layers; a sentence each."""
    missed: tuple[str, ...] = ()
    """What was demanded and not reached; a sentence each."""
    recognised: str = ""
    """What the data were taken for, and how much they are; a line for people."""


def verify(
    bundle: Bundle,
    origin: Origin | Sequence[str],
    engine: str | None = None,
    threads: int | None = None,
    *,
    layers: bool = False,
    strict: bool = False,
    limit: int | None = None,
    demands: Demands = NO_DEMANDS,
    progress: Progress = no_progress,
) -> Verification:
    """Load the images that `origin` names, run every model of a bundle on them and, with `layers`, compare its layers.

    Words in place of an `Origin` name images without labels, which can only compare the models.

    Layers that cannot be compared are a note, not an error: what was measured is told all the same. `strict` and
    `limit` are those of `load_dataset`, `engine` and `threads` those of `verify_bundle`. What does not reach `demands`
    is told in the result, with what was measured.

    Raises:
        UsageError: no such engine, or options that do not go together.
        DataError: no usable image; or, with `strict`, one that cannot be read.
        EngineError: no model can be run.
    """
    demands.check()
    if isinstance(origin, Origin):
        dataset = load_dataset(origin, strict=strict, limit=limit, progress=lambda d, t: progress("load data", d, t))
    else:
        dataset = unlabelled(origin, bundle.manifest.preprocessing, strict=strict, limit=limit)
    found = verify_bundle(bundle, dataset, engine, threads, lambda d, t: progress("verify", d, t))
    if strict and found.skipped:
        first = found.skipped[0]
        raise DataError(f"{first.name}: {first.reason}; {len(found.skipped)} unreadable in all (--strict)")
    notes, by_layer = [*dataset.notes, *found.notes], None
    if layers:
        try:
            by_layer = verify_layers(bundle, dataset, lambda d, t: progress("layers", d, t))
        except TlcError as e:
            notes.append(f"no layers: {e}")
    missed = [
        said
        for s in found.scores
        for said in demands.misses(f"{s.file} on {s.engine}", s.right or 0, found.judged, s.classes)
    ]
    return Verification(found, by_layer, tuple(notes), tuple(missed), dataset.recognised)
