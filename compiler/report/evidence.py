"""What a report is made from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.data.duplicates import Group
from tlc_edge.compiler.data.records import Sample, Skipped
from tlc_edge.compiler.lower.file_kinds import TrunkKind
from tlc_edge.compiler.records import Fused, Outputs
from tlc_edge.compiler.study.study import Study
from tlc_edge.compiler.verify.judge import Labelled
from tlc_edge.compiler.verify.layer_errors import LayerError
from tlc_edge.compiler.verify.parity import NONE, Parity
from tlc_edge.runtime.knn.unknown import Calibration


@dataclass(frozen=True, eq=False)
class Evidence:
    """What a build knows when the files have been verified: the same for all of its targets."""

    labels: tuple[str, ...]
    """The classes of the data, also where the bundle gets none."""
    fused: Fused
    study: Study
    reference: Outputs
    """The float graph on the held-out images."""
    labelled: Labelled
    """The held-out images."""
    samples: Sequence[Sample]
    is_test: NDArray[np.bool_]
    """[N]; the others are validation images."""
    exemplar_images: NDArray[np.uint8]
    """They travel with the bundle as embeddings; without a head they only stand for what will be enrolled."""
    exemplar_classes: NDArray[np.int64]
    calibrations: Mapping[tuple[str, str], Calibration]
    """What `unknown` is judged by, for each format and scheme that a device may prefer."""
    foreign: NDArray[np.uint8] | None
    """Images of anything else, [M, H, W, C]."""
    counts: Counter[str]
    skipped: Sequence[Skipped]
    duplicates: Sequence[Group]
    settings: Mapping[str, Any]
    """Seed, rates and the like, as the manifest shows them."""
    pictures: Pictures | None = None
    """What the report may show; None for no images at all."""
    layers: Mapping[TrunkKind, tuple[LayerError, ...]] = field(default_factory=dict[TrunkKind, tuple[LayerError, ...]])
    """Of each trunk that is not float32, by its format and scheme."""
    parity: Parity = NONE
    """Every two files of the build and the float graph."""


ODD_THUMBNAILS = 12
"""Training images in a page, at most."""


@dataclass(frozen=True, eq=False)
class Pictures:
    """The user's own images, a few of which go into the page as thumbnails."""

    held_out: NDArray[np.uint8]
    """All of them, [N, H, W, C]."""
    odd: NDArray[np.uint8]
    """The first of the odd training images, [up to `ODD_THUMBNAILS`, H, W, C]."""
