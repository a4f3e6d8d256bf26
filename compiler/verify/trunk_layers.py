"""The layers of what was built, against the float trunk."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.features.trunk_files import TrunkFiles
from tlc_edge.compiler.lower.file_kinds import TrunkKind
from tlc_edge.compiler.records import LoweredTrunk
from tlc_edge.targets.schemes import FLOAT32

from .layer_errors import LayerError, measure_layers

IMAGES = 4  # more take time in every build, and change the figures little


def trunk_layers(
    files: TrunkFiles, trunks: Mapping[TrunkKind, LoweredTrunk], images: NDArray[np.uint8]
) -> dict[TrunkKind, tuple[LayerError, ...]]:
    """Return the layers of each trunk that is not float32, by its own format and scheme; `images` [N, H, W, C]."""
    quantized = [trunk for trunk in trunks.values() if trunk.scheme != FLOAT32.name]
    if not quantized:
        return {}
    floats = files.floats()
    reference = (floats.data, floats.format)
    return {(t.format, t.scheme): measure_layers(reference, (t.data, t.format), images[:IMAGES]) for t in quantized}
