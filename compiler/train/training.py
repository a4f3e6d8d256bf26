"""What a head is made from. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tlc_edge.runtime.progress import Count

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tlc_edge.compiler.records import Floats, OwnHead


@dataclass(frozen=True, eq=False)
class Training:
    """What a head is made from."""

    name: str
    """What `--head` says."""
    views: Sequence[Floats]
    """Features of the same N images, [N, F] each; the last is what the device sees."""
    targets: NDArray[np.int64]
    """Class indices, [N]; every class occurs."""
    labels: tuple[str, ...]
    seed: int
    """Equal seeds give equal heads."""
    progress: Count
    own: OwnHead | str = "there is none"
    """The classifier that came with the backbone, or why there is none."""
