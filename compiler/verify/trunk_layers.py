"""The layers of what was built, against the float trunk."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import astuple

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.cache.once import once
from tlc_edge.compiler.features.trunk_files import TrunkFiles
from tlc_edge.compiler.lower.file_kinds import TrunkKind
from tlc_edge.compiler.records import LoweredTrunk
from tlc_edge.compiler.toolchain import versions
from tlc_edge.targets.schemes import FLOAT32

from .layer_errors import LayerError, measure_layers

_FORMAT = 1  # rises when the same layers would be measured otherwise
IMAGES = 4  # more take time in every build, and change the figures little


def trunk_layers(
    files: TrunkFiles,
    trunks: Mapping[TrunkKind, LoweredTrunk],
    images: NDArray[np.uint8],
    cache: str | None = "off",
) -> dict[TrunkKind, tuple[LayerError, ...]]:
    """Return the layers of each trunk that is not float32, by its own format and scheme; `images` [N, H, W, C].

    No head changes them, so those that were measured before come from the `cache`.
    """
    quantized = [trunk for trunk in trunks.values() if trunk.scheme != FLOAT32.name]
    return {(t.format, t.scheme): _measured(files.floats(), t, images[:IMAGES], cache) for t in quantized}


def _measured(
    reference: LoweredTrunk, trunk: LoweredTrunk, images: NDArray[np.uint8], cache: str | None
) -> tuple[LayerError, ...]:
    def make() -> bytes:
        found = measure_layers((reference.data, reference.format), (trunk.data, trunk.format), images)
        return json.dumps([astuple(layer) for layer in found]).encode()

    engines = versions("tlc-edge", "numpy", "ai-edge-litert", "tensorflow", "onnxruntime")
    words = ["layers", _FORMAT, engines, reference.format, trunk.format]
    kept = once(cache, words, [reference.data, trunk.data, images], make)
    return tuple(LayerError(*layer) for layer in json.loads(kept))
