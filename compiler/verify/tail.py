"""Head and neck of a model file run alone, on what the cache keeps of its trunk.

Another head changes nothing in the trunk, whose files take nearly all of the time that a model takes for an image. So
what a trunk's file gives for an image is kept, to the bit, and of a model the tail is run on that: cut from the very
file that is shipped. That the whole file gives the same is looked at with some of the images, each time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tlc_edge.compiler.cache.folder import caching, find_cache_folder
from tlc_edge.compiler.data.records import Sample
from tlc_edge.compiler.data.seen import Seen
from tlc_edge.compiler.data.views import View
from tlc_edge.compiler.features.exact import exact_features
from tlc_edge.compiler.features.trunk_run import trunk_file
from tlc_edge.compiler.lower.formats import cut_tail
from tlc_edge.compiler.records import Floats, Lowered, LoweredTrunk, Outputs
from tlc_edge.runtime.bundle.manifest import Preprocessing
from tlc_edge.runtime.engines.open import KINDS
from tlc_edge.runtime.errors import EngineError

from .tail_engine import RunTail, open_tail_engine


@dataclass(frozen=True, eq=False)
class Tail:
    """What comes after the trunk in a model file."""

    features: Callable[[Sequence[Sample], Sequence[View]], list[Floats] | None]
    """What the trunk's file gives for images in each of some views, to the bit, [N, F]; None where that cannot be told.
    """
    run: RunTail
    headed: bool
    """Whether the first output is probabilities."""

    def proved(
        self, features: Floats, whole: Callable[[Sequence[int]], Outputs], some: Sequence[int]
    ) -> Outputs | None:
        """Return what the model gives for images of which the trunk gives `features` [N, F], N at least 1.

        None where the `whole` file does not give the same for `some` of them.
        """
        given = [self.run(row) for row in features]
        probabilities = np.stack([g[0] if self.headed else g[0][:0] for g in given])
        found = Outputs(probabilities, np.stack([g[-1] for g in given]))
        rows = list(some)
        asked = Outputs(found.probabilities[rows], found.embeddings[rows])
        return found if same_bits(asked, whole(rows)) else None


def open_tail(
    file: Lowered,
    trunk: LoweredTrunk,
    width: int,
    spec: Preprocessing,
    outputs: Sequence[str],
    threads: int,
    cache: str | None,
    seen: Seen | None = None,
) -> Tail | None:
    """Return the tail of a model file; None where it cannot be cut off, or nothing is kept.

    Args:
        file: the model.
        trunk: what it was made from.
        width: of the trunk's features.
        spec: how images are made to fit.
        outputs: the names of the model's outputs.
        threads: as in `featurize`.
        cache: as in `caching`.
        seen: what was read and decoded before.
    """
    if find_cache_folder(cache) is None:
        return None
    kind = next(k for k in KINDS if k.format == trunk.format)
    data = cut_tail(file, trunk)
    run = None if data is None else open_tail_engine(kind, data, outputs)
    if run is None:
        return None
    of_trunk = trunk_file(trunk, width)

    def features(samples: Sequence[Sample], views: Sequence[View]) -> list[Floats] | None:
        try:
            with caching(cache) as kept:
                return exact_features(of_trunk, samples, views, spec, threads, cache=kept, seen=seen)
        except EngineError:  # what it says of the whole file counts
            return None

    return Tail(features, run, len(outputs) > 1)


def same_bits(one: Outputs, other: Outputs) -> bool:
    """Return whether two models gave the same for the same images, to the bit."""
    pairs = ((one.probabilities, other.probabilities), (one.embeddings, other.embeddings))
    return all(a.shape == b.shape and a.tobytes() == b.tobytes() for a, b in pairs)
