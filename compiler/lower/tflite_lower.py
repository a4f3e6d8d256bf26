"""Lower to TFLite: the trunk once per scheme, then a whole model for any head on it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.network.freeze import Frozen, freeze
from tlc_edge.compiler.records import Floats, Fused, InputSpec, Lowered, LoweredTrunk, Trunk
from tlc_edge.runtime.bundle.manifest import ModelFile
from tlc_edge.runtime.engines.open import outputs_for
from tlc_edge.runtime.errors import BuildError
from tlc_edge.runtime.quiet import quiet

from .file_kinds import FileKind

SCHEMES = ("float32", "float16", "dynamic", "int8", "int16x8")
CALIBRATED = ("int8", "int16x8")
"""Schemes whose ranges are set by images."""


def lower_trunk_tflite(
    trunk: Trunk, scheme: str, calibration: NDArray[np.uint8] | None = None, exclude: tuple[str, ...] = ()
) -> LoweredTrunk:
    """Return the trunk as a TFLite file with the one output `features`, float32.

    `calibration` [N, H, W, C] sets the ranges of the schemes in `CALIBRATED`, and of `mixed`, which is int8 but for the
    layers `exclude` (see `layer_values.layer_name`), in float32.

    Raises:
        BuildError: a scheme that has no TFLite lowering; or the file does not hold what the scheme says.
    """
    from .tflite_content import check_content
    from .tflite_finish import finish_tflite  # not above: it needs flatbuffers, which the device does not have

    if scheme not in (*SCHEMES, "mixed"):
        raise BuildError(f"scheme {scheme!r} has no TFLite lowering; choose {', '.join(SCHEMES)}")
    spec = trunk.backbone.input
    # With int8 inputs the normalisation is the input's scale and zero point; elsewhere it is a part of the graph.
    frozen = freeze(trunk.model, spec, from_pixels=scheme != "int8")
    if scheme == "mixed":
        from .tflite_mixed import convert_mixed

        converted = convert_mixed(frozen, lambda: _pixels(calibration), exclude)
    else:
        converted = _convert(frozen, scheme, calibration, spec)
    data = finish_tflite(converted, ["features"])
    check_content(data, scheme)
    return LoweredTrunk("tflite", scheme, data)


def tflite_model(trunk: LoweredTrunk, fused: Fused, features: Floats, kind: FileKind | None = None) -> Lowered:
    """Return `model.tflite`: the lowered trunk with head and neck; `features` [N, F] are what it gives in training.

    Without a `kind` it takes uint8 and gives float32.

    Raises:
        BuildError: int8 is asked for at an end where this network has float32.
    """
    from .tflite_attach import attach_tflite
    from .tflite_finish import finish_tflite

    kind = kind or FileKind(trunk.format, trunk.scheme)
    data = attach_tflite(trunk.data, fused.head, fused.neck, features, kind.input_dtype, kind.output_dtype)
    data = finish_tflite(data, outputs_for(fused.labels), fused.labels, name=fused.trunk.backbone.name)
    return Lowered(ModelFile("model.tflite", "tflite", trunk.scheme, len(data)), data)


def _convert(frozen: Frozen, scheme: str, calibration: NDArray[np.uint8] | None, spec: InputSpec) -> bytes:
    with quiet():
        import tensorflow as tf

        converter: Any = tf.lite.TFLiteConverter.from_concrete_functions([frozen.function])
        if scheme != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if scheme == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if scheme == "int8":
            converter.representative_dataset = lambda: _normalised(calibration, spec)
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.inference_input_type = tf.uint8
        if scheme == "int16x8":
            converter.representative_dataset = lambda: _pixels(calibration)
            converter.target_spec.supported_ops = [
                tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,
                tf.lite.OpsSet.TFLITE_BUILTINS,  # for pixels to floats, at the very start
            ]
        return bytes(converter.convert())


def _normalised(calibration: Any, spec: InputSpec) -> Iterator[list[NDArray[np.float32]]]:
    for i, image in enumerate(calibration):
        pixels = image.astype(np.float32)
        if i == 0:
            # With both ends of the range seen, the input's scale and zero point come out as the
            # normalisation itself, 1/std and mean: the file takes raw pixels and needs no operation for it.
            pixels[0, 0], pixels[0, -1] = 0.0, 255.0
        yield [((pixels - spec.mean) / spec.std)[None]]


def _pixels(calibration: Any) -> Iterator[list[NDArray[np.uint8]]]:
    for image in calibration:
        yield [image[None]]
