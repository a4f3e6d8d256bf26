"""Lower to TFLite: the trunk once per scheme, then a whole model for any head on it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.network.freeze import Frozen, freeze
from tlc_edge.compiler.records import Floats, Fused, InputSpec, Lowered, LoweredTrunk, Trunk
from tlc_edge.runtime.bundle.manifest import ModelFile
from tlc_edge.runtime.engines.open import outputs_for
from tlc_edge.runtime.errors import BuildError
from tlc_edge.runtime.quiet import quiet
from tlc_edge.targets.schemes import DYNAMIC, FLOAT16, FLOAT32, INT8, INT16X8, MIXED, all_int8, names

from .file_kinds import FileKind
from .tflite_ranges import quick_ranges


@dataclass(frozen=True, eq=False)
class Lowering:
    """What a lowering is given."""

    frozen: Frozen
    """Takes pixels, or for a scheme that is int8 throughout what they are normalised to: there the normalisation is
    the input's scale and zero point, elsewhere it is a part of the graph."""
    spec: InputSpec
    calibration: NDArray[np.uint8] | None
    """[N, H, W, C]"""
    exclude: tuple[str, ...]
    """The layers that stay in float32, by `layer_name`."""


def lower_trunk_tflite(
    trunk: Trunk, scheme: str, calibration: NDArray[np.uint8] | None = None, exclude: tuple[str, ...] = ()
) -> LoweredTrunk:
    """Return the trunk as a TFLite file with the one output `features`, float32.

    `calibration` [N, H, W, C] sets the ranges of the schemes that have some; `exclude` names the layers (see
    `tflite_names.layer_name`) that a scheme chosen by layer leaves in float32.

    Raises:
        BuildError: a scheme that has no TFLite lowering; or the file does not hold what the scheme says.
    """
    from .tflite_content import check_content
    from .tflite_finish import finish_tflite  # not above: it needs flatbuffers, which the device does not have
    from .tflite_sums import first_output_only, output_layers, with_summands

    if scheme not in LOWERINGS:
        raise BuildError(f"scheme {scheme!r} has no TFLite lowering; choose {', '.join(names('tflite'))}")
    spec = trunk.backbone.input
    model = with_summands(trunk.model) if all_int8(scheme) else trunk.model
    frozen = freeze(model, spec, from_pixels=not all_int8(scheme))
    converted = LOWERINGS[scheme](Lowering(frozen, spec, calibration, exclude))
    data = finish_tflite(first_output_only(converted, output_layers(model)), ["features"])
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


def _convert(given: Lowering, set_up: Callable[[Any, Any], None]) -> bytes:
    """Run TensorFlow's converter, which `set_up` gets as its second argument, TensorFlow as its first."""
    with quiet():
        import tensorflow as tf

        converter: Any = tf.lite.TFLiteConverter.from_concrete_functions([given.frozen.function])
        set_up(tf, converter)
        try:
            with quick_ranges():
                return bytes(converter.convert())
        except Exception as e:  # the converter's own kind of error, whose class has no public name
            missing = sorted(set(re.findall(r"'tf\.(\w+)' op is neither", str(e))))
            if not missing:
                raise
            raise BuildError(
                f"the network has {', '.join(missing)[:80]}, which TFLite has not; build for a target that takes ONNX "
                "files alone, or cut before it"
            ) from None


def _float32(given: Lowering) -> bytes:
    return _convert(given, lambda _tf, _converter: None)


def _float16(given: Lowering) -> bytes:
    def set_up(tf: Any, converter: Any) -> None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]

    return _convert(given, set_up)


def _dynamic(given: Lowering) -> bytes:
    def set_up(tf: Any, converter: Any) -> None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]

    return _convert(given, set_up)


def _int8(given: Lowering) -> bytes:
    def set_up(tf: Any, converter: Any) -> None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: _normalised(given.calibration, given.spec)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = tf.uint8

    return _convert(given, set_up)


def _int16x8(given: Lowering) -> bytes:
    def set_up(tf: Any, converter: Any) -> None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: _pixels(given.calibration)
        converter.target_spec.supported_ops = [
            tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,
            tf.lite.OpsSet.TFLITE_BUILTINS,  # for pixels to floats, at the very start
        ]

    return _convert(given, set_up)


def _mixed(given: Lowering) -> bytes:
    from .tflite_mixed import convert_mixed

    return convert_mixed(given.frozen, lambda: _pixels(given.calibration), given.exclude)


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


LOWERINGS: dict[str, Callable[[Lowering], bytes]] = {
    FLOAT32.name: _float32,
    FLOAT16.name: _float16,
    DYNAMIC.name: _dynamic,
    INT8.name: _int8,
    INT16X8.name: _int16x8,
    MIXED.name: _mixed,
}
"""By scheme: what makes TensorFlow's file of a frozen trunk."""
