"""The formats of model files: what lowers a trunk to one, and what makes a whole model of it. One row per format.

Within a format, `LOWERINGS` of its module has one function per scheme.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.records import Floats, Fused, Lowered, LoweredTrunk, Trunk

from .file_kinds import FileKind
from .onnx_lower import lower_trunk_onnx, onnx_model
from .onnx_tail import onnx_tail
from .tflite_lower import lower_trunk_tflite, tflite_model


@dataclass(frozen=True)
class Format:
    """How files of one format are made."""

    lower_trunk: Callable[[Trunk, str, NDArray[np.uint8] | None, tuple[str, ...]], LoweredTrunk]
    """From a trunk, a scheme, calibration images [N, H, W, C] and the layers left in float32."""
    make_model: Callable[[LoweredTrunk, Fused, Floats | None, FileKind], Lowered]
    """From a lowered trunk, head and neck, the features [N, F] that it gives in training, and the kind of file."""
    cut_tail: Callable[[bytes, bytes], bytes | None]
    """From a whole model and its lowered trunk; see `cut_tail`."""


def _tflite_tail(fused: bytes, trunk: bytes) -> bytes | None:
    from .tflite_tail import tflite_tail  # not above: it needs flatbuffers, which the device does not have

    return tflite_tail(fused, trunk)


def _tflite_model(trunk: LoweredTrunk, fused: Fused, features: Floats | None, kind: FileKind) -> Lowered:
    if features is None:
        raise ValueError("the ranges of head and neck follow from features, and there are none")
    return tflite_model(trunk, fused, features, kind)


FORMATS = {
    "tflite": Format(lower_trunk_tflite, _tflite_model, _tflite_tail),
    "onnx": Format(lower_trunk_onnx, lambda trunk, fused, _features, _kind: onnx_model(trunk, fused), onnx_tail),
}
"""By the format's name, as targets and manifests have it."""


def lower_trunk(
    trunk: Trunk, form: str, scheme: str, calibration: NDArray[np.uint8] | None = None, exclude: tuple[str, ...] = ()
) -> LoweredTrunk:
    """Return the trunk in a format and scheme.

    Raises:
        BuildError: a scheme that the format does not have; or the file does not hold what the scheme says.
    """
    return FORMATS[form].lower_trunk(trunk, scheme, calibration, exclude)


def make_model(trunk: LoweredTrunk, fused: Fused, features: Floats | None, kind: FileKind) -> Lowered:
    """Return a target's model file: the lowered trunk with head and neck.

    `features` [N, F] are what the trunk gives in training, where that was looked at.

    Raises:
        BuildError: int8 is asked for at an end where this network has float32.
    """
    return FORMATS[trunk.format].make_model(trunk, fused, features, kind)


def cut_tail(file: Lowered, trunk: LoweredTrunk) -> bytes | None:
    """Return head and neck of a model file as they are in it, a file of its own that takes what its trunk gives.

    It has the model's outputs. None where it cannot be cut off.
    """
    return FORMATS[trunk.format].cut_tail(file.data, trunk.data)
