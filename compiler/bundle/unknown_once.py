"""What unknown is judged by, measured once for builds that differ in nothing that decides it: in the head, say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.cache.once import arrays_once
from tlc_edge.compiler.records import Floats, Looks, Neck
from tlc_edge.compiler.toolchain import versions
from tlc_edge.runtime.knn.cut import Measured
from tlc_edge.runtime.knn.unknown import Knownness

from .unknown import measure_knownness

_FORMAT = 1  # rises when `measure_knownness` would give other numbers for the same


def knownness_once(
    cache: str | None,
    neck: Neck,
    views: Sequence[Floats],
    device: Floats,
    classes: NDArray[np.int64],
    exemplars: NDArray[np.int64],
    seed: int,
    looks: Looks,
    *,
    shipped: bool,
) -> Knownness:
    """Return what `measure_knownness` does; see there."""

    def make() -> dict[str, NDArray[Any]]:
        return _arrays(measure_knownness(neck, views, device, classes, exemplars, seed, looks, shipped=shipped))

    words = ["known-ness", _FORMAT, versions("tlc-edge", "numpy"), seed, shipped, neck.root, len(views)]
    given = [neck.kernel, neck.bias, device, classes, exemplars, looks.rows, *looks.features, *views]
    return _knownness(arrays_once(cache, words, given, make))


def _arrays(found: Knownness) -> dict[str, NDArray[Any]]:
    """Return the arrays of what a build measured; see `_knownness`."""
    measured = found.measured
    assert measured is not None
    assert found.unwanted is None
    return {
        "shift": found.shift,
        "base": found.base,
        "examples": found.examples,
        "enrolled": found.enrolled,
        "few": measured.few,
        "claimed": measured.claimed,
        "lengths": measured.lengths,
    }


def _knownness(a: Any) -> Knownness:
    measured = Measured(a["examples"], a["few"], a["claimed"], a["lengths"])
    return Knownness(a["shift"], a["base"], a["examples"], a["enrolled"], measured)
