"""The ladder: where a file costs more accuracy than allowed, it is made anew, rung by rung, until one is good enough.

More calibration images come first, as they cost nothing on the device; then float32 for the few layers that bring most
of the noise; then schemes with finer steps, up to those that hardly lose anything. What was taken is told everywhere,
and a file is never called by the name of a scheme that it is not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.data.calibration_set import CalibrationSet
from tlc_edge.compiler.data.prepared import Data, HeldOut
from tlc_edge.compiler.features.trunk_files import TrunkFiles
from tlc_edge.compiler.lower.file_kinds import FileKind, TrunkKind
from tlc_edge.compiler.verify.judge import check_drop, check_embeddings
from tlc_edge.compiler.verify.layer_errors import LayerError, measure_layers
from tlc_edge.compiler.verify.statistics import wilson
from tlc_edge.runtime.errors import BuildError, TlcError
from tlc_edge.targets.schemes import SCHEMES

from .again import RefusedError, Trunks
from .fit import Fitted, fit
from .order import Order
from .records import LoweredTrunk
from .result import Rung
from .steps import Steps

AS_ASKED = "as asked"
_SHARES = (0.05, 0.2)  # of the layers that are left in float32
_FEWEST = 2  # of them
_LOOKED_AT = 8  # images that the noisiest layers are found with


@dataclass(frozen=True, eq=False)
class Way:
    """A trunk to be tried in place of another."""

    what: str
    """What is special to it but the scheme; see `Rung`."""
    trunk: LoweredTrunk
    refused: str | None = None
    """Why it cannot be made; the trunk is empty then."""


class Ladder:
    """What was tried in a build, and what may be tried yet."""

    def __init__(self, order: Order, files: TrunkFiles, calibration: CalibrationSet) -> None:
        self.rungs: list[Rung] = []
        self.tried: dict[TrunkKind, str] = {}
        """What is special to the trunks that were replaced last."""
        self.order, self.files, self._calibration = order, files, calibration
        self._ways: dict[TrunkKind, Iterator[Way]] = {}

    def next_way(self, kind: TrunkKind, first: LoweredTrunk) -> Way | None:
        """Return the next way to make a trunk that can be made; None where there is none."""
        if kind not in self._ways:
            bound = is_bound(self.order, kind)
            self._ways[kind] = find_ways(kind, first, self.files, self._calibration, bound=bound)
        for way in self._ways[kind]:
            if way.refused is None:
                return way
            self.rungs.append(_refused(kind, way.trunk.scheme, way.what, way.refused, 0))
        return None

    def tell(self, error: TlcError) -> None:
        """Give an error what was tried."""
        if self.rungs:
            was = "; ".join(f"{r.described()}: {r.outcome()}" for r in self.rungs)
            error.add_note(f"this was tried since the files before lost more than --max-drop: {was}")
            error.tried = tried_ways(self.rungs)


def fit_or_climb(ladder: Ladder, data: Data, held_out: HeldOut, trunks: Trunks, step: Steps) -> Fitted:
    """Fit as `fit` does; a trunk that an engine refuses is a rung that failed, and the next one takes its place.

    Raises:
        TlcError: as `fit`, with what was tried.
    """
    trunks = dict(trunks)
    while True:
        try:
            return fit(ladder.order, ladder.files, data, held_out, trunks, step)
        except RefusedError as e:
            ladder.rungs.append(_refused(e.kind, e.scheme, ladder.tried.get(e.kind, AS_ASKED), e.reason, e.bytes))
            way = ladder.next_way(e.kind, trunks[e.kind]) if ladder.order.options.ladder else None
            if way is None:
                ladder.tell(e)
                raise
            trunks[e.kind], ladder.tried[e.kind] = way.trunk, way.what
        except TlcError as e:
            ladder.tell(e)
            raise


def climb(
    order: Order,
    fitted: Fitted,
    data: Data,
    held_out: HeldOut,
    calibration: CalibrationSet,
    step: Steps,
    ladder: Ladder | None = None,
) -> tuple[Fitted, tuple[Rung, ...]]:
    """Return what was fitted, with every file that lost too much replaced by the first rung that does not.

    Head and neck are fitted anew on each rung: they learned from a trunk that is no longer there. Also returns the
    rungs of each file that was not good enough as asked; none where all were. `ladder` has what was tried before.

    Raises:
        BuildError: a file loses too much, and the ladder has no rung that does not, or may not be climbed; names the
            best that was found.
    """
    options = order.options
    ladder = ladder or Ladder(order, fitted.files, calibration)
    rungs = ladder.rungs
    while True:
        with step("verify"):  # the same figures, against what is allowed
            problems = find_problems(fitted, options.max_drop)
            bad = {kind.trunk: error for kind, error in problems.items()}
            tried = ladder.tried
            looked_at = [kind for kind in fitted.judged if kind.trunk in tried or kind.trunk in bad]
            rungs += [to_rung(fitted, k, tried.get(k.trunk, AS_ASKED), taken=k not in problems) for k in looked_at]
        if not bad:
            return fitted, tuple(dict.fromkeys(rungs))  # targets with the same file have the same rungs
        if not options.ladder:
            raise next(iter(bad.values()))
        with step("ladder"):  # what lost too much is made in another way, and all is fitted again
            trunks = dict(fitted.trunks)
            ladder.tried = {}
            for kind, error in bad.items():
                way = ladder.next_way(kind, trunks[kind])
                if way is None:
                    files = {j.score.file for k, j in fitted.judged.items() if k.trunk == kind}
                    of_file = [r for r in rungs if r.file in files]
                    failed = none_left(error, of_file, held_out, options.max_drop)
                    failed.tried = tried_ways(of_file)
                    raise failed
                trunks[kind], ladder.tried[kind] = way.trunk, way.what
        fitted = fit_or_climb(ladder, data, held_out, trunks, step)


def tried_ways(rungs: Sequence[Rung]) -> tuple[str, ...]:
    """Return what was tried, a sentence each."""
    return tuple(f"{r.file} as {r.described()}: {r.outcome()}" for r in rungs)


def _refused(kind: TrunkKind, scheme: str, what: str, reason: str, size: int) -> Rung:
    return Rung(f"model.{kind[0]}", scheme, what, 0.0, (0.0, 1.0), 0.0, size, 0, taken=False, refused=reason)


def find_problems(fitted: Fitted, max_drop: float) -> dict[FileKind, BuildError]:
    """Return what is wrong with each file that is not good enough."""
    reference = fitted.reference
    found: dict[FileKind, BuildError] = {}
    for kind, judged in fitted.judged.items():
        try:
            check_embeddings([judged])
            check_drop([judged.score], reference.accuracy, len(reference.held_out.truth), max_drop)
        except BuildError as e:
            found[kind] = e
    return found


def is_bound(order: Order, kind: TrunkKind) -> bool:
    """Return whether a trunk must stay what it is but for its calibration: a device takes nothing but int8."""
    asking = [t for t in order.targets if any(file.trunk == kind for file in order.kinds[t.name])]
    return any(t.full_int8 or t.operations or "int8" in (t.input_dtype, t.output_dtype) for t in asking)


def find_ways(
    kind: TrunkKind, first: LoweredTrunk, files: TrunkFiles, calibration: CalibrationSet, *, bound: bool
) -> Iterator[Way]:
    """Yield what may be tried for a trunk in place of the `first`, the cheapest first; each is lowered when asked for.

    `bound` leaves out all that is not the same scheme all through.
    """
    form, scheme = kind
    images = calibration.images
    if SCHEMES[scheme].calibrated:
        images = calibration.more()
        if len(images) > len(calibration.images):
            way = _made(f"{len(images)} calibration images", files, form, scheme, images)
            first = way.trunk if way.refused is None else first
            yield way
    if bound:
        return
    for other in SCHEMES[scheme].forms[form].next:
        if not SCHEMES[other].by_layer:
            yield _made("", files, form, other, images)
            continue
        floats = files.floats()
        try:
            errors = measure_layers((floats.data, floats.format), (first.data, form), images[:_LOOKED_AT])
        except (
            TlcError
        ):  # the engine refuses the one, or there is none: which of its layers bring the noise cannot be seen
            continue
        for names in noisiest_layers(errors, form):
            yield _made(f"{len(names)} layers in float32", files, form, other, images, names)


def _made(
    what: str, files: TrunkFiles, form: str, scheme: str, images: NDArray[np.uint8], exclude: tuple[str, ...] = ()
) -> Way:
    try:
        return Way(what, files.get(form, scheme, images, exclude))
    except BuildError as e:  # of a converter that makes something else, say
        return Way(what, LoweredTrunk(form, scheme, b""), str(e))


def noisiest_layers(errors: Sequence[LayerError], form: str) -> Iterator[tuple[str, ...]]:
    """Yield the layers that bring most noise, more of them each time, by the names that converters know."""
    order = sorted(errors, key=lambda e: -e.added)
    names = list(dict.fromkeys(e.name if form == "tflite" else e.tensor for e in order))
    for share in _SHARES:
        yield tuple(sorted(names[: max(_FEWEST, round(share * len(names)))]))


def to_rung(fitted: Fitted, kind: FileKind, what: str, *, taken: bool) -> Rung:
    """Return how good a file is, made as `what` says."""
    judged, reference = fitted.judged[kind], fitted.reference
    score, total = judged.score, len(reference.held_out.truth)
    return Rung(
        file=score.file,
        scheme=score.scheme,
        what=what,
        accuracy=score.accuracy,
        interval=wilson(round(score.accuracy * total), total),
        float_accuracy=reference.accuracy,
        bytes=score.bytes,
        blind=int(np.count_nonzero(~judged.outputs.embeddings.any(axis=1))),
        taken=taken,
    )


def best_of(rungs: Sequence[Rung]) -> Rung:
    """Return the most accurate rung, of equals the smallest; one that gives zeros only where all do."""
    return max(rungs, key=lambda r: (r.refused is None, r.blind == 0, r.accuracy, -r.bytes))


def none_left(error: BuildError, rungs: Sequence[Rung], held_out: HeldOut, max_drop: float) -> BuildError:
    """Return the error for a file of which no rung is good enough; `error` itself where there was only one way."""
    if len(rungs) < 2:
        return error
    best = best_of(rungs)
    low, high = best.interval
    return BuildError(
        f"{best.file}: none of {len(rungs)} ways to make it stays within {max_drop:g} points of the float "
        f"graph's accuracy on {len(held_out.truth)} held-out images; the best is {best.described()}: "
        f"{best.accuracy:.3f} ({low:.3f} to {high:.3f}) against {best.float_accuracy:.3f}, {best.bytes:,} bytes"
        f"{', with embeddings that are zero' if best.blind else ''}; take --scheme float32, another backbone, or a "
        "larger --max-drop"
    )


def _figures(rung: Rung) -> str:
    return f"{rung.accuracy:.3f} ({rung.bytes:,} bytes)" if rung.refused is None else rung.outcome()


def ladder_text(rungs: Sequence[Rung]) -> Mapping[str, str]:
    """Return one line per file, for the manifest: every rung, the last one taken."""
    lines: dict[str, list[str]] = {}
    for r in rungs:
        lines.setdefault(r.file, []).append(f"{r.described()}: {_figures(r)}")
    return {file: "; then ".join(parts) for file, parts in lines.items()}
