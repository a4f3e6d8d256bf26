"""What a head is made from. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tlc_edge.runtime.progress import Count

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tlc_edge.compiler.records import Floats, OwnHead


@dataclass(frozen=True, eq=False)
class FeatureView:
    """Features of N images, read some at a time."""

    features: NDArray[Any]
    """[M, F], in memory or in a file; float16 or float32."""
    rows: NDArray[np.int64] | None = None
    """Which of them, [N]; None: all."""
    apply: Callable[[Floats], Floats] | None = None
    """What is done to them before the head sees them."""

    def __len__(self) -> int:
        return len(self.features) if self.rows is None else len(self.rows)

    @property
    def width(self) -> int:
        """F."""
        return int(self.features.shape[1])

    def read(self, at: slice | NDArray[np.int64]) -> Floats:
        """Return some of them, [n, F]."""
        found = self.features[at if self.rows is None else self.rows[at]].astype("float32", copy=False)
        return found if self.apply is None else self.apply(found)


@dataclass(frozen=True, eq=False)
class Whole:
    """All images to train on, where memory does not hold them."""

    views: Sequence[FeatureView]
    """Of the same N images; the last is what the device sees."""
    targets: NDArray[np.int64]
    """Class indices, [N]."""


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
    whole: Whole | None = None
    """All images, where the others above are some of them."""
