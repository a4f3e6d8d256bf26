"""Unknown: when nothing stored is near enough to what the camera sees.

An image's known-ness beside a stored example is the cosine of their embeddings, both moved by `shift`. The neck
centres embeddings on the training mean, which tells classes apart best; moved half way back, an image that is
like nothing at all points in the direction of the mean instead of a random one, and away from everything.

How near the right example should be depends on how many there are, and on what else may claim an image. So the build
measures images that the neck was not fitted to, and the device finds one cut for all classes from that and from what
is enrolled; see `cut`.

Bundles from before there was a cut have a threshold for each class: quantiles, at the stated false-alarm rate, of the
known-ness of images of the base classes and of classes with 1, 2, 3, … examples. An image is known there where any of
its nearest examples is as near as the threshold of its class asks. Examples enrolled since, each measured against the
others of its class, move the thresholds of the enrolled classes.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tlc_edge.runtime.bundle.arrays import read_arrays
from tlc_edge.runtime.bundle.bundle import Bundle
from tlc_edge.runtime.bundle.manifest import Unknown
from tlc_edge.runtime.errors import BundleError, UsageError
from tlc_edge.runtime.vectors import Floats, quantile, quantize_rows

from .cut import Cut, Measured, find_cut, knownness_by

if TYPE_CHECKING:
    from .bank import Bank, Nearby

KNOWNNESS = "unknown.npz"
_OF_THE_CUT = ("few", "claimed", "lengths")
CLEARLY = 0.03
"""How much nearer to what must not pass is clearly nearer: less turns away more of what is known, more, less of what is
not."""
_LEFT = 0.4  # of the stated rate, for what examples of what must not pass turn away, once there are many
_SHOWN = 3  # of these, with which half of that is left
_TRUST = 10  # enrolled examples whose word weighs as much as the build's
_COPIES = 0.99  # nearer to each other than this share of the build's images: frames of one scene, not two examples


@dataclass(frozen=True, eq=False)
class Knownness:
    """How near images come to what is stored, as a build measured it: what the thresholds are made from."""

    shift: Floats
    """[D], added to an embedding of its own length before the cosine."""
    base: Floats
    """Known-ness of images of the base classes, ascending; empty where none was measured."""
    examples: NDArray[np.int64]
    """[K], ascending: numbers of examples of an enrolled class."""
    enrolled: Floats
    """[K, Q]: for each, quantiles of the known-ness of images of such a class, evenly spaced from 0 to 1."""
    measured: Measured | None = None
    """What the cut is found from; None in bundles from before there was one."""
    unwanted: Floats | None = None
    """[U, D]: embeddings of what must not pass, which travel with the bundle; None where none do."""

    def base_threshold(self, rate: float) -> float:
        """Return the known-ness asked for beside exemplars of a base class; -inf where nothing was measured."""
        if rate <= 0 or not len(self.base):
            return float("-inf")
        return float(quantile(self.base.astype(np.float64), min(rate, 1.0)))

    def enrolled_quantile(self, share: float, examples: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the known-ness that this share of images falls short of, for classes of so many examples [N]."""
        if not len(self.examples):
            return np.full(len(examples), -np.inf)
        column = quantile(self.enrolled.astype(np.float64), share)
        return np.interp(np.log(np.maximum(examples, 1)), np.log(self.examples), column)


def checked_rate(rate: float) -> float:
    """Return a false-alarm rate if it is one.

    Raises:
        UsageError: it is below 0, or not below 1.
    """
    if not 0 <= rate < 1:
        raise UsageError(f"the false-alarm rate is {rate}, expected 0 (off) up to, not including, 1")
    return rate


def pack_knownness(knownness: Knownness) -> bytes:
    """Return `unknown.npz`: float32 `shift` [D], int32 `examples` [K], float32 `enrolled` [K, Q].

    And what the cut is found from: float32 `few` [K, Q], `claimed` [M, L], `lengths` [M, L]. And where examples of what
    must not pass travel with the bundle: int8 `unwanted` [U, D] and float32 `unwanted_scales` [U].
    """
    arrays: dict[str, Any] = {
        "shift": knownness.shift.astype(np.float32),
        "examples": knownness.examples.astype(np.int32),
        "enrolled": knownness.enrolled.astype(np.float32),
    }
    if knownness.measured is not None:
        arrays |= {name: getattr(knownness.measured, name).astype(np.float32) for name in _OF_THE_CUT}
    if knownness.unwanted is not None and len(knownness.unwanted):
        arrays["unwanted"], arrays["unwanted_scales"] = quantize_rows(knownness.unwanted)
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


def read_knownness(bundle: Bundle) -> Knownness:
    """Return what a bundle's build measured; where it has none, the manifest's scores serve for all.

    Raises:
        BundleError: the file does not fit the manifest.
    """
    manifest = bundle.manifest
    base = np.array(manifest.unknown.scores, np.float32)
    if KNOWNNESS not in bundle.files:
        return without_table(manifest.unknown, manifest.embedding_width)
    try:
        data = read_arrays(bundle.files[KNOWNNESS])
        shift, enrolled = np.asarray(data["shift"], np.float32), np.asarray(data["enrolled"], np.float32)
        examples = np.asarray(data["examples"], np.int64)
        of_cut = [np.asarray(data[name], np.float32) for name in _OF_THE_CUT if name in data]
        unwanted = _unwanted(data)
    except Exception as e:
        # numpy meets bytes that are no archive of arrays with whatever error its reader happens to hit.
        raise BundleError(f"{bundle.path}: {KNOWNNESS} cannot be read ({e}); build the bundle again") from None
    if (
        shift.shape != (manifest.embedding_width,)
        or enrolled.ndim != 2
        or examples.shape != (len(enrolled),)
        or (len(enrolled) and enrolled.shape[1] < 2)
        or not np.all(np.diff(examples, prepend=0) > 0)
        or not (np.isfinite(shift).all() and np.isfinite(enrolled).all())
    ):
        raise BundleError(
            f"{bundle.path}: {KNOWNNESS} does not fit the manifest (shift {list(shift.shape)} of width "
            f"{manifest.embedding_width}, scores {list(enrolled.shape)} expected); build the bundle again"
        )
    if unwanted is not None and (unwanted.shape[1:] != shift.shape or not np.isfinite(unwanted).all()):
        raise BundleError(
            f"{bundle.path}: what must not pass in {KNOWNNESS} does not fit the manifest ({list(unwanted.shape)}, "
            f"rows of {manifest.embedding_width} numbers expected); build the bundle again"
        )
    measured = Measured(examples, *of_cut) if len(of_cut) == len(_OF_THE_CUT) else None
    if measured is not None and not _fits(measured, bundle):
        raise BundleError(f"{bundle.path}: the claims in {KNOWNNESS} do not fit the bundle; build the bundle again")
    return Knownness(shift, base, examples, enrolled, measured, unwanted)


def _unwanted(data: Mapping[str, NDArray[Any]]) -> Floats | None:
    """Return the embeddings of what must not pass, as far as the file has any."""
    if "unwanted" not in data:
        return None
    rows: NDArray[np.int8] = data["unwanted"]
    scales = np.asarray(data["unwanted_scales"], np.float32)
    if rows.dtype != np.int8 or rows.ndim != 2 or scales.shape != rows.shape[:1]:
        raise ValueError(f"unwanted {rows.dtype}{list(rows.shape)} with {list(scales.shape)} scales")
    return np.multiply(rows, scales[:, None], dtype=np.float32)


def _fits(measured: Measured, bundle: Bundle) -> bool:
    count, claimed = len(bundle.exemplars().labels), measured.claimed
    return (
        measured.few.ndim == 2
        and len(measured.few) == len(measured.examples)
        and (not len(measured.few) or measured.few.shape[1] > 1)
        and bool(np.isfinite(measured.few).all())
        and claimed.ndim == 2
        and claimed.shape[1] > 0
        and claimed.shape == measured.lengths.shape
        and count in (0, len(claimed))
        and not np.isinf(claimed).any()
        and bool(np.isfinite(measured.lengths[np.isfinite(claimed)]).all())
    )


def without_table(unknown: Unknown, width: int) -> Knownness:
    """Return the known-ness of scores alone: no shift, and enrolled classes are held to what base classes are."""
    base = np.array(unknown.scores, np.float32)
    few = np.zeros((0, 2), np.float32)
    if len(base):
        few = np.quantile(base, np.linspace(0, 1, max(2, len(base))))[None].astype(np.float32)
    return Knownness(np.zeros(width, np.float32), base, np.ones(len(few), np.int64), few)


class Limits(NamedTuple):
    """What an image has to reach to be known, until what is enrolled changes: the cut, or the thresholds of before."""

    cut: Cut | None
    asked: Sequence[float]
    """The known-ness asked for by each class where there is no cut; -inf where nothing is."""

    def judge(self, near: Nearby) -> tuple[float, float]:
        """Return an image's known-ness and what is asked of it."""
        if self.cut is None or not near.rows:
            return knownness_of(near, self.asked)
        return knownness_by(self.cut, near.claims, near.length), self.cut.threshold


def is_unwanted(near: Nearby) -> bool:
    """Return whether an image is clearly nearer to what must not pass than to anything stored."""
    return near.unwanted > CLEARLY + max(near.knownness, default=-2.0)


def find_limits(knownness: Knownness, rate: float, bank: Bank) -> Limits:
    """Return what images have to reach at this rate of false alarms, 0 to 1, by what the bank holds now.

    What must not pass turns away some of what is known; up to two fifths of the rate are left to it.
    """
    own, taught = bank.counts()[0], bank.taught()
    if knownness.measured is not None and rate > 0:
        shown = len(bank.unwanted())
        rate *= 1 - _LEFT * shown / (shown + _SHOWN)
        cut = find_cut(knownness.measured, rate, own, taught, bank.claimed())
        return Limits(cut, [-math.inf] * len(own))
    return Limits(None, thresholds(knownness, rate, own, taught, bank.enrolled_scores()).tolist())


def thresholds(
    knownness: Knownness,
    rate: float,
    exemplars: NDArray[np.int64],
    enrolled: NDArray[np.int64],
    among_themselves: Sequence[Floats] = (),
) -> Floats:
    """Return the known-ness asked for by each class [C]; -inf where `rate` is 0 or nothing was measured.

    Args:
        knownness: the bundle's.
        rate: false-alarm rate, 0 to 1.
        exemplars: how many of the bundle's rows each class has, [C]; classes with any count as base classes.
        enrolled: how many examples each class has in the gallery, [C].
        among_themselves: known-ness of enrolled examples beside the nearest other of their class, one array per class.
    """
    if rate <= 0:
        return np.full(len(enrolled), -np.inf, np.float32)
    asked = knownness.enrolled_quantile(rate, enrolled) + drift(knownness, among_themselves)
    return np.where(exemplars > 0, knownness.base_threshold(rate), asked).astype(np.float32)


def drift(knownness: Knownness, among_themselves: Sequence[Floats]) -> float:
    """Return by how much enrolled examples are nearer to each other than the build expected: the median, shrunk.

    Each example is compared with what the build found for classes with as many others. It draws on all
    enrolled classes together, since a few examples say little of their own class.
    """
    several = [scores for scores in among_themselves if len(scores) > 1]
    if not several or not len(knownness.examples):
        return 0.0
    found = np.concatenate(several).astype(np.float64)
    others = np.concatenate([np.full(len(scores), len(scores) - 1) for scores in several])
    told = found <= knownness.enrolled_quantile(_COPIES, others)
    if not told.any():
        return 0.0
    differences = found[told] - knownness.enrolled_quantile(0.5, others[told])
    return float(np.median(differences)) * len(differences) / (len(differences) + _TRUST)


def knownness_of(near: Nearby, asked: Sequence[float]) -> tuple[float, float]:
    """Return the known-ness beside that of the nearest rows that speaks most for the image, and what is asked there.

    It is the row that lies farthest above the threshold of its class; `asked` has one per class. Without rows,
    nothing is asked.
    """
    if not near.rows:
        return 0.0, float("-inf")
    limits = [asked[c] for c in near.classes]
    # Where nothing is asked, the nearest speaks.
    above = [2 + s if a == -math.inf else s - max(a, -2.0) for s, a in zip(near.knownness, limits, strict=True)]
    best = above.index(max(above))
    return near.knownness[best], limits[best]
