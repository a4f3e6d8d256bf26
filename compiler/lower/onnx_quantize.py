"""Quantize an ONNX trunk to int8, as QDQ: onnxruntime.quantization does it."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.records import InputSpec
from tlc_edge.runtime.quiet import quiet

from .onnx_content import normalising_nodes

METHODS = ("minmax", "percentile", "entropy")
"""How a range follows from what an activation was on the calibration images."""


def quantize_onnx(
    model: Any,
    spec: InputSpec,
    calibration: NDArray[np.uint8],
    method: str = "minmax",
    exclude: Sequence[str] = (),
) -> Any:
    """Return a float32 ONNX model with int8 weights, one scale per channel, and uint8 activations.

    uint8 activations, as x86 kernels of onnxruntime multiply uint8 by int8: with int8 on both sides the same file took
    more than twice as long there. Its ARM kernels take either.

    Args:
        model: the model; it stays as it is.
        spec: how it normalises its pixels.
        calibration: images [N, H, W, C] that set the ranges.
        method: one of `METHODS`.
        exclude: names of the nodes that stay in float32.
    """
    normalising = normalising_nodes(model.graph)
    with quiet(), tempfile.TemporaryDirectory() as folder:
        import onnx
        from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

        reader: Any = _Images(calibration)  # in shape its CalibrationDataReader, which must not be imported above
        copy: Any = onnx.ModelProto()
        copy.CopyFrom(model)
        path = Path(folder) / "quantized.onnx"
        quantize_static(
            copy,
            path,
            reader,
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=[*exclude, *(node.name for node in normalising)],
            calibrate_method={
                "minmax": CalibrationMethod.MinMax,
                "percentile": CalibrationMethod.Percentile,
                "entropy": CalibrationMethod.Entropy,
            }[method],
        )
        quantized = onnx.load(path)
    if float(spec.mean).is_integer() and 0 <= spec.mean <= 255:
        _take_pixels(quantized.graph, spec)
    return quantized


def _take_pixels(graph: Any, spec: InputSpec) -> None:
    """Make the pixels themselves the first quantized values, with 1/std as their scale and the mean as zero point.

    That is the normalisation, exactly; so its operations go, and the quantization after them.
    """
    from onnx import numpy_helper

    nodes = normalising_nodes(graph)
    last = nodes[-1].output[0]
    after = [node for node in graph.node if last in node.input]
    if [node.op_type for node in after] != ["QuantizeLinear"]:
        return  # a first layer that stays in float32
    moving = [node for node in nodes if node.op_type in ("Transpose", "Reshape", "Unsqueeze", "Squeeze", "Pad")]
    reading = [
        node for node in graph.node if node.op_type == "DequantizeLinear" and node.input[0] == after[0].output[0]
    ]
    parts = {"image_scale": np.float32(1 / spec.std), "image_zero": np.uint8(spec.mean)}
    graph.initializer.extend(numpy_helper.from_array(np.asarray(value), key) for key, value in parts.items())
    source = graph.input[0].name
    for node in moving:
        if node.op_type == "Pad":
            node.input[2:] = [_as_pixel(graph, node, spec)]
        node.input[0], source = source, node.output[0]
    for node in reading:
        node.input[:] = [source, *parts]
    for node in [*(n for n in nodes if n not in moving), *after]:
        graph.node.remove(node)
    del graph.value_info[:]  # of types that are no longer so
    used = {name for node in graph.node for name in node.input}
    for constant in [c for c in graph.initializer if c.name not in used]:
        graph.initializer.remove(constant)


def _as_pixel(graph: Any, pad: Any, spec: InputSpec) -> str:
    """Add the pixel, uint8, that becomes the value with which a node pads the normalised image; return its name."""
    from onnx import numpy_helper

    value = next((float(numpy_helper.to_array(c)) for c in graph.initializer if c.name in pad.input[2:]), 0.0)
    pixel = np.uint8(np.clip(np.rint(value * spec.std + spec.mean), 0, 255))
    graph.initializer.append(numpy_helper.from_array(np.asarray(pixel), f"{pad.name}_pixel"))
    return f"{pad.name}_pixel"


class _Images:
    """The calibration images one by one, as onnxruntime wants them."""

    def __init__(self, images: NDArray[np.uint8]) -> None:
        self._images = iter(images)

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        """Return the next feed; None at the end."""
        image = next(self._images, None)
        return None if image is None else {"image": image[None]}
