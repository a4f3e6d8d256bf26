"""Choose which foreign images travel with a bundle as examples of what must not pass.

Only those do that would pass for known: what is unknown anyhow need not be shown. And none that would turn away what is
known. How much it helps is judged on foreign images that the chosen ones were not chosen from.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.records import Floats
from tlc_edge.runtime.knn.unknown import CLEARLY, Knownness
from tlc_edge.runtime.vectors import quantize_rows, unit_rows

from .exemplars import choose_exemplars
from .unknown import Rule, StoredRows

_MOST = 60
_TRIED = 300  # exemplars that are tried; more would cost time and tell little


@dataclass(frozen=True, eq=False)
class Shown:
    """A bundle's known-ness with what must not pass, and what it did to foreign images."""

    knownness: Knownness
    passed: NDArray[np.bool_]
    """[M]: whether each foreign image passes for known beside what was chosen of the half that it is not in."""

    @property
    def count(self) -> int:
        """How many travel with the bundle."""
        return 0 if self.knownness.unwanted is None else len(self.knownness.unwanted)


def show_foreign(rule: Rule, stored: StoredRows, known: Floats, foreign: Floats) -> Shown | None:
    """Return what a bundle is with some foreign images as none of these; None where that turns none of them away.

    Args:
        rule: by what the bundle goes without them.
        stored: what images are compared with.
        known: embeddings of other images of the bundle's classes, [N, D].
        foreign: embeddings of images of anything else, [M, D].
    """
    if rule.rate <= 0 or not len(foreign) or not len(stored.classes):
        return None
    without = ~rule.unknown(stored, foreign)
    may = np.flatnonzero(without & ~_costly(rule.knownness.shift, stored, known, foreign))
    passed = np.zeros(len(foreign), np.bool_)
    halves = np.arange(len(foreign)) % 2
    for half in (0, 1):
        beside = rule.beside(_covering(foreign, may[halves[may] != half]))
        passed[halves == half] = ~beside.unknown(stored, foreign[halves == half])
    if passed.sum() >= without.sum():
        return None
    return Shown(rule.beside(_covering(foreign, may)).knownness, passed)


def _covering(foreign: Floats, may: NDArray[np.int64]) -> Floats:
    """Return the few of these that together cover all of them, as a device will have them."""
    chosen = choose_exemplars(foreign[may], np.zeros(len(may), np.int64), 1, _MOST)
    rows, scales = quantize_rows(foreign[may[chosen]])
    return np.multiply(rows, scales[:, None], dtype=np.float32)


def _costly(shift: Floats, stored: StoredRows, known: Floats, foreign: Floats) -> NDArray[np.bool_]:
    """Return which foreign images would turn away an exemplar, each left out in turn, or another known image, [M]."""
    rows, others = unit_rows(stored.embeddings + shift), unit_rows(foreign + shift)
    some = np.unique(np.linspace(0, len(rows) - 1, min(_TRIED, len(rows))).astype(np.int64))
    own = rows[some] @ rows.T
    own[np.arange(len(some)), some] = -1.0
    asked = np.concatenate([rows[some], unit_rows(known + shift)])
    nearest = np.concatenate([own.max(axis=1), (asked[len(some) :] @ rows.T).max(axis=1)])
    most: Floats = np.max(asked @ others.T - nearest[:, None], axis=0)
    return most > CLEARLY
