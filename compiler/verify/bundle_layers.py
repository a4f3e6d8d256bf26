"""Layer by layer, for a bundle that was built before."""

from __future__ import annotations

import numpy as np

from tlc_edge.compiler.data.decode import decode_all
from tlc_edge.compiler.data.records import Dataset
from tlc_edge.runtime.bundle.bundle import Bundle
from tlc_edge.runtime.errors import DataError, UsageError
from tlc_edge.runtime.progress import Count, silent
from tlc_edge.targets.schemes import FLOAT32

from .layer_errors import LayerError, measure_layers

IMAGES = 16
"""More change the figures little."""


def verify_layers(bundle: Bundle, dataset: Dataset, progress: Count = silent) -> dict[str, tuple[LayerError, ...]]:
    """Compare the layers of every smaller model in a bundle with its float32 model, whatever the formats.

    Takes up to `IMAGES` images, evenly spread over the data. Returns the layers in the network's order, by file.

    Raises:
        UsageError: the bundle has no float32 model, or nothing but that.
        DataError: no image can be read.
    """
    models = bundle.manifest.models
    reference = next((m for m in models if m.scheme == FLOAT32.name), None)
    judged = [m for m in models if m.scheme != FLOAT32.name]
    if reference is None:
        raise UsageError(
            f"{bundle.path}: no model in it is float32, so there is nothing to compare layers with; {_instead(bundle)}"
        )
    if not judged:
        raise UsageError(f"{bundle.path}: every model in it is float32; there is no quantized layer to look at")
    every = np.unique(np.linspace(0, len(dataset.samples) - 1, min(IMAGES, len(dataset.samples))).round().astype(int))
    _, images, _ = decode_all([dataset.samples[i] for i in every], bundle.manifest.preprocessing)
    if not len(images):
        raise DataError(f"{dataset.origin}: none of the images can be read")
    floats = (bundle.read(reference.file), reference.format)
    found: dict[str, tuple[LayerError, ...]] = {}
    for n, model in enumerate(judged):
        found[model.file] = measure_layers(floats, (bundle.read(model.file), model.format), images)
        progress(n + 1, len(judged))
    return found


def _instead(bundle: Bundle) -> str:
    """Return what helps where a bundle has no float32 model. A build makes every format that its target takes."""
    if any(m.format == "onnx" for m in bundle.manifest.models):
        return "build with --onnx-scheme float32"
    return f"its target takes no ONNX file; how the build found the trunk's layers: tlc inspect {bundle.path} --report"
