"""First look: while the network is on its way, images are read and decoded for the input that it will have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tlc_edge.compiler.backbones.rows import likely_size
from tlc_edge.compiler.data.records import Sample
from tlc_edge.compiler.data.seen import Seen, digest_of
from tlc_edge.compiler.data.views import PLAIN
from tlc_edge.compiler.features.featurize import HELD
from tlc_edge.compiler.features.trunk_run import content_of, decode_views
from tlc_edge.runtime.bundle.manifest import Preprocessing
from tlc_edge.runtime.errors import ImageError
from tlc_edge.runtime.knn.bank import free_memory
from tlc_edge.runtime.progress import Count

from .order import Order

_OF_MEMORY = 8  # of what is free, one part may hold decoded images; the worker grows meanwhile


@dataclass(frozen=True, eq=False)
class FirstLook:
    """What was seen of images before the trunk was there."""

    room: int
    """Bytes of decoded images that may stay in memory."""
    spec: Preprocessing | None
    """How they were made to fit; None: none was looked at."""
    seen: Seen

    def fitting(self, spec: Preprocessing) -> Seen:
        """Return what was seen, if it was made to fit as it has to."""
        return self.seen if self.spec == spec else Seen(self.room)

    def take(self, samples: Sequence[Sample], _threads: int, progress: Count) -> None:
        """Read, hash and decode local images in their order, one by one, as far as there is room.

        Those that cannot be read are left to whoever looks at all.
        """
        for i, sample in enumerate(samples):
            if self.spec is None or not isinstance(sample.source, Path | np.ndarray):
                return
            try:
                content = content_of(sample)
                (pixels,) = decode_views(content, [PLAIN], self.spec)
            except ImageError:
                continue
            self.seen.note(sample, digest_of(content))
            if not self.seen.keep(sample, PLAIN, pixels):
                return
            progress(i + 1, len(samples))


def first_look(order: Order, *, waits: bool) -> FirstLook:
    """Return where to put what is seen; `waits` says whether there is something to wait for."""
    size = likely_size(order.options.backbone, order.options.asked) if waits and order.stored is None else None
    room = int(min(HELD, free_memory() / _OF_MEMORY))
    return FirstLook(room, None if size is None else Preprocessing(*size), Seen(room))
