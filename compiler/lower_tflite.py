"""Lower to TFLite: the trunk once a scheme, then a whole model for any head on it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlc.runtime.engines import outputs_for
from tlc.runtime.errors import BuildError
from tlc.runtime.manifest import ModelFile
from tlc.runtime.quiet import quiet

from .graph import Frozen, freeze
from .records import Floats, Fused, InputSpec, Lowered, LoweredTrunk, Trunk


def lower_trunk_tflite(trunk: Trunk, scheme: str, calibration: NDArray[np.uint8] | None = None) -> LoweredTrunk:
    """Return the trunk as a TFLite file with the one output `features`, float32.

    `calibration` [N, H, W, C] sets the ranges of int8.

    Raises:
        BuildError: a scheme that has no TFLite lowering.
    """
    from .tflite_file import finish_tflite  # not above: it needs flatbuffers, which the device does not have

    spec = trunk.backbone.input
    if scheme == "float32":
        raw = _convert(freeze(trunk.model, spec, from_pixels=True), None, spec)
    elif scheme == "int8":
        raw = _convert(freeze(trunk.model, spec, from_pixels=False), calibration, spec)
    else:
        raise BuildError(f"scheme {scheme!r} has no TFLite lowering; choose float32 or int8")
    return LoweredTrunk("tflite", scheme, finish_tflite(raw, ["features"]))


def tflite_model(trunk: LoweredTrunk, fused: Fused, features: Floats) -> Lowered:
    """Return `model.tflite`: the lowered trunk with head and neck; `features` [N, F] are what it gives in training."""
    from .attach_tflite import attach_tflite
    from .tflite_file import finish_tflite

    data = attach_tflite(trunk.data, fused.head, fused.neck, features)
    data = finish_tflite(data, outputs_for(fused.labels), fused.labels, name=fused.trunk.backbone.name)
    return Lowered(ModelFile("model.tflite", "tflite", trunk.scheme, len(data)), data)


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
