"""The reference: the float graph, which every lowered file is measured against.

Of a Keras network it is the float32 TFLite file, once that is known to give what Keras gives (`is_keras`): its features
of all images are there anyway, and Keras takes three times as long. Of an ONNX file it is that file itself.
"""

from __future__ import annotations

import hashlib
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.cache.folder import caching
from tlc_edge.compiler.cache.store import FeatureCache
from tlc_edge.compiler.data.decode import Images
from tlc_edge.compiler.lower.equalise import noise_images
from tlc_edge.compiler.network.fingerprint import fingerprint
from tlc_edge.compiler.network.onnx_network import OnnxNetwork
from tlc_edge.compiler.records import Floats, Fused, Outputs, Trunk
from tlc_edge.runtime.engines.open import open_model
from tlc_edge.runtime.progress import Count, silent
from tlc_edge.runtime.quiet import quiet

from .trunk_files import TrunkFiles

_BATCH = 16
_NOISE = 4  # images of it on which file and Keras are compared, once per trunk, beside `_plain_images`
_APART = 1e-3
"""Of the largest feature of an image: what sums in another order may come to in deep networks, and no defect does."""


def run_float(
    files: TrunkFiles, fused: Fused, features: Floats, images: Images, progress: Count, cache: str | None
) -> Outputs:
    """Return what the float graph gives for images [N, H, W, C]; `features` [N, F] are those of the float32 file."""
    if files.form == "onnx" or not is_keras(files, cache):
        with caching(cache) as kept:
            return run_keras(fused, images, progress, kept)
    return Outputs(fused.head.probabilities(features), fused.neck.project(features))


def is_keras(files: TrunkFiles, cache: str | None) -> bool:
    """Return whether a trunk's float32 file gives what its network gives in Keras; found out once per trunk."""
    file = files.floats()
    recipe = f"is keras {files.fingerprint} {hashlib.sha256(file.data).hexdigest()} {_APART} {_NOISE} plain"
    key = hashlib.sha256(recipe.encode()).digest()
    with caching(cache) as kept:
        found = None if kept is None else kept.get(key)
        if found is None:
            same = compare(files) if files.elsewhere is None else files.elsewhere.compare()
            found = b"yes" if same else b"no"
            if kept is not None:
                kept.put([(key, found)])
    return found == b"yes"


def compare(files: TrunkFiles) -> bool:
    """Return whether a trunk's float32 file gives for a few images what its network gives in Keras, here and now."""
    file, spec = files.floats(), files.trunk.backbone.input
    noise = noise_images(spec.height, spec.width, spec.channels)[:_NOISE]
    images = np.concatenate([noise, _plain_images(spec.height, spec.width, spec.channels)])
    engine = open_model(files.as_float().kind, file.data, 1, ("features",), file="the trunk")
    given = np.stack([engine.run(image)[0] for image in images])
    return _alike(given, _features(files.trunk, images, silent))


def _plain_images(height: int, width: int, channels: int) -> NDArray[np.uint8]:
    """Return images in black, grey, white, both sides and a chessboard [5, H, W, C]: what noise leaves out.

    A layer that divides by what it sees has nothing to divide by in black.
    """
    y, x = np.mgrid[:height, :width]
    grey = [np.full((height, width), level) for level in (0, 127, 255)]
    made = np.stack([*grey, 255 * (x >= width // 2), 255 * ((x + y) % 2)])
    return np.repeat(made[..., None], channels, axis=3).astype(np.uint8)


def _alike(file: Floats, keras: Floats) -> bool:
    apart = np.abs(file.astype(np.float64) - keras).max(axis=1)
    return bool((apart <= _APART * np.abs(keras).max(axis=1)).all())  # never where one is not finite


def run_keras(fused: Fused, images: Images, progress: Count = silent, cache: FeatureCache | None = None) -> Outputs:
    """Run the trunk in Keras, and head and neck on what it gives, over images [N, H, W, C]; all in float32.

    A trunk that comes from an ONNX file is run as that file has it, in onnxruntime.

    What the trunk gives is kept in `cache`: it takes longer than all the lowered files together.
    """
    features = _cached(fused.trunk, images, progress, cache)
    return Outputs(fused.head.probabilities(features), fused.neck.project(features))


def _cached(trunk: Trunk, images: Images, progress: Count, cache: FeatureCache | None) -> Floats:
    if cache is None:
        return _features(trunk, images, progress)
    recipe = hashlib.sha256(f"reference {fingerprint(trunk)} {images.shape}".encode())
    for image in images:
        recipe.update(image.tobytes())
    key = recipe.digest()
    found = cache.get(key)
    if found is not None and len(found) == 4 * len(images) * trunk.width:
        return np.frombuffer(found, np.float32).reshape(len(images), trunk.width)
    features = _features(trunk, images, progress)
    cache.put([(key, features.tobytes())])
    return features


def _features(trunk: Trunk, images: Images, progress: Count) -> Floats:
    if isinstance(trunk.model, OnnxNetwork):
        return trunk.model.features(images, progress)
    from tlc_edge.compiler.network.freeze import serving

    serve = serving(trunk.model, trunk.backbone.input, from_pixels=True, batch=None)
    features: list[Floats] = []
    rows = iter(images)
    for start in range(0, len(images), _BATCH):
        batch = np.stack(list(islice(rows, _BATCH)))
        with quiet():  # tracing the graph, at the first batch, is chatty
            features.append(np.asarray(serve(batch).numpy(), np.float32))
        progress(min(start + _BATCH, len(images)), len(images))
    return np.concatenate(features)
