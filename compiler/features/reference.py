"""The reference: the float graph in Keras, or an ONNX file itself, which every lowered file is measured against."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.cache.store import FeatureCache
from tlc_edge.compiler.network.fingerprint import fingerprint
from tlc_edge.compiler.network.onnx_network import OnnxNetwork
from tlc_edge.compiler.records import Floats, Fused, Outputs, Trunk
from tlc_edge.runtime.progress import Count, silent
from tlc_edge.runtime.quiet import quiet

_BATCH = 16


def run_keras(
    fused: Fused, images: NDArray[np.uint8], progress: Count = silent, cache: FeatureCache | None = None
) -> Outputs:
    """Run the trunk in Keras, and head and neck on what it gives, over images [N, H, W, C]; all in float32.

    A trunk that comes from an ONNX file is run as that file has it, in onnxruntime.

    What the trunk gives is kept in `cache`: it takes longer than all the lowered files together.
    """
    features = _cached(fused.trunk, images, progress, cache)
    return Outputs(fused.head.probabilities(features), fused.neck.project(features))


def _cached(trunk: Trunk, images: NDArray[np.uint8], progress: Count, cache: FeatureCache | None) -> Floats:
    if cache is None:
        return _features(trunk, images, progress)
    key = hashlib.sha256(f"reference {fingerprint(trunk)} {images.shape}".encode() + images.tobytes()).digest()
    found = cache.get(key)
    if found is not None and len(found) == 4 * len(images) * trunk.width:
        return np.frombuffer(found, np.float32).reshape(len(images), trunk.width)
    features = _features(trunk, images, progress)
    cache.put([(key, features.tobytes())])
    return features


def _features(trunk: Trunk, images: NDArray[np.uint8], progress: Count) -> Floats:
    if isinstance(trunk.model, OnnxNetwork):
        return trunk.model.features(images, progress)
    from tlc_edge.compiler.network.freeze import serving

    serve = serving(trunk.model, trunk.backbone.input, from_pixels=True, batch=None)
    features: list[Floats] = []
    for start in range(0, len(images), _BATCH):
        with quiet():  # tracing the graph, at the first batch, is chatty
            features.append(np.asarray(serve(images[start : start + _BATCH]).numpy(), np.float32))
        progress(min(start + _BATCH, len(images)), len(images))
    return np.concatenate(features)
