"""Lower to TFLite: float32, or int8 with the ranges set by a calibration set."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlc.runtime.engines import OUTPUTS
from tlc.runtime.errors import BuildError
from tlc.runtime.manifest import ModelFile
from tlc.runtime.quiet import quiet

from .graph import Frozen, freeze
from .records import Fused, InputSpec, Lowered, Trunk
from .tflite_file import finish_tflite


def lower_trunk(trunk: Trunk) -> bytes:
    """Return the trunk alone as a float32 TFLite file with the one output `features`, for featurizing."""
    frozen = freeze(trunk.model, trunk.backbone.input, from_pixels=True)
    return finish_tflite(_convert(frozen, None, trunk.backbone.input), ["features"])


def lower_tflite(fused: Fused, scheme: str, calibration: NDArray[np.uint8]) -> Lowered:
    """Return the fused graph as `model.tflite`; `calibration` [N, H, W, C] sets the int8 ranges.

    Raises:
        BuildError: the converter failed, or the file is not what the contract says.
    """
    spec = fused.trunk.backbone.input
    if scheme == "float32":
        raw = _convert(freeze(fused.model, spec, from_pixels=True), None, spec)
    elif scheme == "int8":
        raw = _convert(freeze(fused.model, spec, from_pixels=False), calibration, spec)
    else:
        raise BuildError(f"scheme {scheme!r} has no TFLite lowering; choose float32 or int8")
    data = finish_tflite(raw, OUTPUTS, fused.labels, name=fused.trunk.backbone.name)
    return Lowered(ModelFile("model.tflite", "tflite", scheme, len(data)), data)


def _convert(frozen: Frozen, calibration: NDArray[np.uint8] | None, spec: InputSpec) -> bytes:
    with quiet():
        import tensorflow as tf

        converter: Any = tf.lite.TFLiteConverter.from_concrete_functions([frozen.function])
        if calibration is not None:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = lambda: _samples(calibration, spec)
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.inference_input_type = tf.uint8
        return bytes(converter.convert())


def _samples(calibration: NDArray[np.uint8], spec: InputSpec) -> Iterator[list[NDArray[np.float32]]]:
    for i, image in enumerate(calibration):
        pixels = image.astype(np.float32)
        if i == 0:
            # With both ends of the range seen, the input's scale and zero point come out as the
            # normalisation itself, 1/std and mean: the file takes raw pixels and needs no operation for it.
            pixels[0, 0], pixels[0, -1] = 0.0, 255.0
        yield [((pixels - spec.mean) / spec.std)[None]]
