"""The ladder: where a file costs more accuracy than allowed, it is made anew, rung by rung, until one is good enough.

More calibration images come first, as they cost nothing on the device; then float32 for the few layers that bring most
of the noise; then schemes with finer steps, up to those that hardly lose anything. What was taken is told everywhere,
and a file is never called by the name of a scheme that it is not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.lower.file_kinds import TrunkKind, file_kinds
from tlc_edge.compiler.verify.judge import Judged, check_drop, check_embeddings
from tlc_edge.compiler.verify.layer_errors import measure_layers
from tlc_edge.compiler.verify.statistics import wilson
from tlc_edge.runtime.errors import BuildError
from tlc_edge.targets import Target
from tlc_edge.targets.schemes import FLOAT32, SCHEMES

from .fit import Fitted, Material, fit
from .options import Options
from .records import LoweredTrunk
from .result import Rung
from .steps import Steps

Images = NDArray[np.uint8]
_SHARES = (0.05, 0.2)  # of the layers that are left in float32
_LOOKED_AT = 8  # images that the worst layers are found with


@dataclass(frozen=True, eq=False)
class Calibration:
    """Images that set ranges: those taken first, and how to get more."""

    images: Images
    """[N, H, W, C]"""
    more: Callable[[], Images]


@dataclass(frozen=True, eq=False)
class _Try:
    """A trunk to be tried in place of another."""

    what: str
    trunk: LoweredTrunk


def climb(
    fitted: Fitted,
    given: Material,
    calibration: Calibration,
    targets: Sequence[Target],
    options: Options,
    step: Steps,
) -> tuple[Fitted, tuple[Rung, ...]]:
    """Return what was fitted, with every file that lost too much replaced by the first rung that does not.

    Head and neck are fitted anew on each rung: they learned from a trunk that is no longer there. Also returns the
    rungs of each file that was not good enough as asked; none where all were.

    Raises:
        BuildError: a file loses too much, and the ladder has no rung that does not, or may not be climbed; names the
            best that was found.
    """
    rungs: list[Rung] = []
    ways: dict[TrunkKind, Iterator[_Try]] = {}
    tried: dict[TrunkKind, str] = {}
    while True:
        with step("verify"):
            problems = {kind: _problem(j, fitted, options) for kind, j in fitted.judged.items()}
            bad = {kind.trunk: e for kind, e in problems.items() if e is not None}
            for kind, j in fitted.judged.items():
                if kind.trunk in tried or kind.trunk in bad:
                    rungs.append(_rung(j, fitted, tried.get(kind.trunk), problems[kind] is None))
        if bad and not options.ladder:
            raise next(iter(bad.values()))
        if not bad:
            return fitted, tuple(dict.fromkeys(rungs))  # targets with the same file have the same rungs
        with step("ladder"):
            trunks = dict(fitted.trunks)
            tried = {}
            for key, error in bad.items():
                if key not in ways:
                    ways[key] = _ways(key, fitted.trunks[key], given, calibration, _bound(key, targets, options))
                found = next(ways[key], None)
                if found is None:
                    files = {j.score.file for kind, j in fitted.judged.items() if kind.trunk == key}
                    raise _worse(error, [r for r in rungs if r.file in files], fitted, options)
                trunks[key], tried[key] = found.trunk, found.what
        try:
            fitted = fit(given, trunks, targets, options, step)
        except BuildError as e:
            was = "; ".join(f"{r.described()}: accuracy {r.accuracy:.3f}" for r in rungs)
            e.add_note(f"this was tried since the files before lost more than --max-drop: {was}")
            raise


def _problem(judged: Judged, fitted: Fitted, options: Options) -> BuildError | None:
    try:
        check_embeddings([judged])
        check_drop([judged.score], fitted.float_accuracy, len(fitted.labelled.truth), options.max_drop)
    except BuildError as e:
        return e
    return None


def _bound(key: TrunkKind, targets: Sequence[Target], options: Options) -> bool:
    """Return whether a file must stay what it is but for its calibration: a device takes nothing but int8."""
    asking = [t for t in targets for kind in file_kinds(t, options.scheme, options.onnx_scheme) if kind.trunk == key]
    return any(t.full_int8 or t.operations or "int8" in (t.input_dtype, t.output_dtype) for t in asking)


def _ways(
    key: TrunkKind, first: LoweredTrunk, given: Material, calibration: Calibration, bound: bool
) -> Iterator[_Try]:
    """Yield what may be tried for a trunk, the cheapest first."""
    form, scheme = key
    images = calibration.images
    if SCHEMES[scheme].calibrated:
        images = calibration.more()
        if len(images) > len(calibration.images):
            first = given.files.get(form, scheme, images)
            yield _Try(f"{len(images)} calibration images", first)
    if bound:
        return
    for other in SCHEMES[scheme].forms[form].next:
        if SCHEMES[other].by_layer:
            for names, count in _worst(first, given, images):
                yield _Try(f"{count} layers in float32", given.files.get(form, other, images, names))
        else:
            yield _Try("", given.files.get(form, other, images))


def _worst(trunk: LoweredTrunk, given: Material, images: Images) -> Iterator[tuple[tuple[str, ...], int]]:
    """Yield the names by which a converter knows the layers that bring most noise, more of them each time."""
    reference = given.files.get("tflite", FLOAT32.name)
    errors = measure_layers((reference.data, "tflite"), (trunk.data, trunk.format), images[:_LOOKED_AT])
    order = sorted(errors, key=lambda e: -e.added)
    names = list(dict.fromkeys(e.name if trunk.format == "tflite" else e.tensor for e in order))
    for share in _SHARES:
        count = max(2, round(share * len(names)))
        yield tuple(sorted(names[:count])), count


def _rung(judged: Judged, fitted: Fitted, what: str | None, good: bool) -> Rung:
    score, total = judged.score, len(fitted.labelled.truth)
    right = round(score.accuracy * total)
    blind = int(np.count_nonzero(~judged.outputs.embeddings.any(axis=1)))
    return Rung(
        file=score.file,
        scheme=score.scheme,
        what="as asked" if what is None else what,
        accuracy=score.accuracy,
        interval=wilson(right, total),
        float_accuracy=fitted.float_accuracy,
        bytes=score.bytes,
        blind=blind,
        taken=good,
    )


def _worse(error: BuildError, rungs: Sequence[Rung], fitted: Fitted, options: Options) -> BuildError:
    if len(rungs) < 2:
        return error
    best = max(rungs, key=lambda r: (r.blind == 0, r.accuracy, -r.bytes))
    low, high = best.interval
    return BuildError(
        f"{best.file}: none of {len(rungs)} ways to make it stays within {options.max_drop:g} points of the float "
        f"graph's accuracy on {len(fitted.labelled.truth)} held-out images; the best is {best.described()}: "
        f"{best.accuracy:.3f} ({low:.3f} to {high:.3f}) against {best.float_accuracy:.3f}, {best.bytes:,} bytes"
        f"{', with embeddings that are zero' if best.blind else ''}; take --scheme float32, another backbone, or a "
        "larger --max-drop"
    )


def ladder_text(rungs: Sequence[Rung]) -> Mapping[str, str]:
    """Return one line a file, for the manifest: every rung, the last one taken."""
    lines: dict[str, list[str]] = {}
    for r in rungs:
        lines.setdefault(r.file, []).append(f"{r.described()}: {r.accuracy:.3f} ({r.bytes:,} bytes)")
    return {file: "; then ".join(parts) for file, parts in lines.items()}
