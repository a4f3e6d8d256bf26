"""What trunks' files give for the held-out images, made in the worker while this process trains a head.

It goes to the cache, where `exact_features` finds it. The worker gets parts of the images, so that what it has not
begun when they are wanted is made by whoever wants them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.cache.folder import caching, find_cache_folder
from tlc_edge.compiler.data.records import Sample
from tlc_edge.compiler.data.seen import Seen
from tlc_edge.compiler.data.views import PLAIN
from tlc_edge.compiler.lower.file_kinds import TrunkKind
from tlc_edge.compiler.records import LoweredTrunk
from tlc_edge.compiler.worker import Pending, Worker
from tlc_edge.runtime.bundle.manifest import Preprocessing
from tlc_edge.runtime.errors import EngineError

from .exact import exact_features
from .trunk_run import trunk_file

_PARTS = 12
_FEWEST = 25
"""Images of a part: an engine is opened for each."""
_MOST = 250_000_000
"""Bytes of images that are sent."""


@dataclass(frozen=True, eq=False)
class ExactAhead:
    """The parts that the worker was given, by the trunk."""

    parts: Mapping[TrunkKind, Sequence[Pending[None]]]

    def settle(self, kind: TrunkKind) -> None:
        """Wait for what is begun of a trunk, and take the rest back."""
        parts = self.parts.get(kind, ())
        begun = [part for part in reversed(parts) if not part.cancel()]
        for part in begun:
            part.result()


def run_ahead(
    worker: Worker | None,
    trunks: Iterable[tuple[TrunkKind, LoweredTrunk]],
    width: int,
    samples: Sequence[Sample],
    spec: Preprocessing,
    cache: str | None,
    seen: Seen | None,
) -> ExactAhead:
    """Start to run trunks, one after the other, over images; nothing, where no worker is at hand for it.

    Args:
        worker: a process that is running already; another one would cost more than it saves.
        trunks: by what a target asks for.
        width: of their features.
        samples: the images. Those that are not kept decoded are left to whoever wants them.
        spec: how they were made to fit.
        cache: as in `caching`.
        seen: what was read and decoded before.
    """
    if worker is None or not worker.running or seen is None or find_cache_folder(cache) is None:
        return ExactAhead({})
    there = _there(samples, seen)[: _MOST // (spec.height * spec.width * spec.channels)]
    each = max(_FEWEST, math.ceil(len(there) / _PARTS))
    parts = [
        ([digest for digest, _ in some], np.stack([image for _, image in some]))
        for some in (there[i : i + each] for i in range(0, len(there), each))
    ]
    return ExactAhead(
        {kind: [worker.start(_run, trunk, width, *part, spec, cache) for part in parts] for kind, trunk in trunks}
    )


def _there(samples: Sequence[Sample], seen: Seen) -> list[tuple[bytes, NDArray[np.uint8]]]:
    """Return the SHA-256 of images, and their pixels [H, W, C]."""
    found = [(seen.digest(sample), seen.pixels(sample)) for sample in samples]
    return [(digest, image) for digest, image in found if digest is not None and image is not None]


def _run(
    trunk: LoweredTrunk,
    width: int,
    digests: Sequence[bytes],
    images: NDArray[np.uint8],
    spec: Preprocessing,
    cache: str | None,
) -> None:
    """Put what a trunk gives for images, whose files have these SHA-256, into the cache."""
    seen = Seen(images.nbytes)
    samples = [Sample(np.empty(0, np.uint8), "", None, str(i)) for i in range(len(images))]  # stand for what was seen
    for sample, digest, image in zip(samples, digests, images, strict=True):
        seen.note(sample, digest)
        seen.keep(sample, PLAIN, image)
    try:
        with caching(cache) as kept:
            exact_features(trunk_file(trunk, width), samples, (PLAIN,), spec, 1, cache=kept, seen=seen)
    except EngineError:  # whoever wants them will be told
        return
