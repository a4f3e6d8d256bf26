"""What a report is made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.data.decode import Images
from tlc_edge.compiler.data.prepared import Data
from tlc_edge.compiler.data.records import Sample
from tlc_edge.compiler.lower.file_kinds import TrunkKind
from tlc_edge.compiler.study.study import Study
from tlc_edge.compiler.verify.judge import Reference
from tlc_edge.runtime.knn.unknown import Knownness

from .settings import Settings

ODD_THUMBNAILS = 12
"""Training images in a page, at most."""


@dataclass(frozen=True, eq=False)
class Exemplars:
    """Training images that stand for their classes: they travel with the bundle as embeddings.

    Without a head they only stand for what will be enrolled.
    """

    samples: Sequence[Sample]
    """E in all."""
    classes: NDArray[np.int64]
    """[E]"""


@dataclass(frozen=True, eq=False)
class Foreign:
    """Images of anything else."""

    samples: Sequence[Sample]
    images: NDArray[np.uint8]
    """[M, H, W, C]"""


@dataclass(frozen=True, eq=False)
class Pictures:
    """The user's own images, a few of which go into the page as thumbnails."""

    held_out: Images
    """All of them, [N, H, W, C]."""
    odd: NDArray[np.uint8]
    """The first of the odd training images, [up to `ODD_THUMBNAILS`, H, W, C]."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """What a build knows when the files have been verified: the same for all of its targets."""

    data: Data
    reference: Reference
    """The float graph on the held-out images."""
    exemplars: Exemplars
    unknown: Mapping[TrunkKind, Knownness]
    """What `unknown` is judged by, for each format and scheme that a device may prefer."""
    study: Study
    settings: Settings
    foreign: Foreign | None = None
    pictures: Pictures | None = None
    """What the report may show; None for no images at all."""
