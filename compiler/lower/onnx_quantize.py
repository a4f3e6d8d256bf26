"""Quantize an ONNX trunk to int8, as QDQ: onnxruntime.quantization does it."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlc_edge.runtime.errors import BuildError
from tlc_edge.runtime.quiet import quiet

from .onnx_content import normalising_nodes

METHODS = ("minmax", "percentile", "entropy")
"""How a range follows from what an activation was on the calibration images."""


def quantize_onnx(
    model: Any,
    calibration: NDArray[np.uint8],
    method: str = "minmax",
    exclude: Sequence[str] = (),
) -> Any:
    """Return a float32 ONNX model with int8 weights, one scale per channel, and uint8 activations.

    uint8 activations, as x86 kernels of onnxruntime multiply uint8 by int8: with int8 on both sides the same file took
    more than twice as long there. Its ARM kernels take either.

    Args:
        model: the model; it stays as it is.
        calibration: images [N, H, W, C] that set the ranges.
        method: one of `METHODS`.
        exclude: names of the nodes that stay in float32.

    Raises:
        BuildError: onnxruntime could not run it.
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
            nodes_to_exclude=[*exclude, *_float_only(model.graph), *(node.name for node in normalising)],
            calibrate_method={
                "minmax": CalibrationMethod.MinMax,
                "percentile": CalibrationMethod.Percentile,
                "entropy": CalibrationMethod.Entropy,
            }[method],
        )
        quantized = onnx.load(path)
    _take_pixels(quantized.graph)
    return quantized


def _float_only(graph: Any) -> list[str]:
    """Return the names of nodes that onnxruntime's quantizer stumbles on: layer norms over several axes.

    Raises:
        BuildError: there is a node which onnxruntime takes for one in int8 and then cannot run.
    """
    from onnx import helper

    ranks = {c.name: len(c.dims) for c in graph.initializer}
    for node in graph.node:
        said = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        cubic = node.op_type == "Resize" and said.get("mode") == b"cubic"
        if cubic or (node.op_type == "AveragePool" and any(n > 1 for n in said.get("dilations", ()))):
            raise BuildError(
                f"onnxruntime cannot run {node.op_type} ({node.name}) in int8 where it is "
                f"{'cubic' if cubic else 'dilated'}; choose --onnx-scheme float32 or float16, or cut before it"
            )
    norms = [node for node in graph.node if node.op_type == "LayerNormalization"]
    return [node.name for node in norms if any(ranks.get(name, 0) > 1 for name in node.input[1:])]


# What they move is their first input.
_MOVING = frozenset({"Transpose", "Reshape", "Unsqueeze", "Squeeze", "Pad", "Slice", "Gather", "Flatten"})
_WHOLE = 1e-4  # grey levels that a zero point may be off by


def _take_pixels(graph: Any) -> None:
    """Make the pixels themselves the first quantized values, with 1/std as their scale and the mean as zero point.

    That is the normalisation, all of what stands before the first layer; so its operations go, and the quantization
    after them. Where it is none that a scale and a zero point can say, it stays in float32.
    """
    from onnx import numpy_helper

    nodes = normalising_nodes(graph)
    maps = _maps(graph, nodes)
    after = [node for node in graph.node if nodes and nodes[-1].output[0] in node.input]
    if not maps or [node.op_type for node in after] != ["QuantizeLinear"]:
        return  # a first layer that stays in float32
    scale, offset = maps[-1]
    zero = -offset / scale
    pads = {
        node.name: _as_pixel(graph, node, *given)
        for node, given in zip(nodes, maps, strict=True)
        if node.op_type == "Pad"
    }
    if not scale > 0 or abs(zero - round(zero)) > _WHOLE or not 0 <= round(zero) <= 255 or None in pads.values():
        return
    moving = [node for node in nodes if node.op_type in _MOVING]
    reading = [
        node for node in graph.node if node.op_type == "DequantizeLinear" and node.input[0] == after[0].output[0]
    ]
    parts = {"image_scale": np.float32(scale), "image_zero": np.uint8(round(zero))}
    parts |= {f"{name}_pixel": np.uint8(value or 0) for name, value in pads.items()}
    graph.initializer.extend(numpy_helper.from_array(np.asarray(value), key) for key, value in parts.items())
    source = graph.input[0].name
    for node in moving:
        if node.op_type == "Pad":
            node.input[2:3] = [f"{node.name}_pixel"]
        node.input[0], source = source, node.output[0]
    for node in reading:
        node.input[:] = [source, "image_scale", "image_zero"]
    for node in [*(n for n in nodes if n not in moving), *after]:
        graph.node.remove(node)
    del graph.value_info[:]  # of types that are no longer so
    used = {name for node in graph.node for name in node.input}
    for constant in [c for c in graph.initializer if c.name not in used]:
        graph.initializer.remove(constant)


def _maps(graph: Any, nodes: Sequence[Any]) -> list[tuple[float, float]]:
    """Return scale and offset by which each of some nodes in a row gives pixels; none where one is no such map."""
    from onnx import numpy_helper

    known = {c.name: numpy_helper.to_array(c) for c in graph.initializer}
    scale, offset, found = 1.0, 0.0, list[tuple[float, float]]()
    for node in nodes:
        first = node.input[0] not in known
        if node.op_type in ("Add", "Sub", "Mul", "Div"):
            value = float(known[node.input[1 if first else 0]].reshape(-1)[0])
            if node.op_type == "Mul" or (node.op_type == "Div" and first and value):
                factor = value if node.op_type == "Mul" else 1 / value
                scale, offset = scale * factor, offset * factor
            elif node.op_type == "Add" or (node.op_type == "Sub" and first):
                offset += value if node.op_type == "Add" else -value
            elif node.op_type == "Sub":
                scale, offset = -scale, value - offset
            else:
                return []
        elif not first or node.op_type not in {*_MOVING, "Cast", "Identity"}:
            return []
        found.append((scale, offset))
    return found


def _as_pixel(graph: Any, pad: Any, scale: float, offset: float) -> int | None:
    """Return the pixel, uint8, that becomes the value with which a node pads the normalised image, if there is one."""
    from onnx import numpy_helper

    value = next((float(numpy_helper.to_array(c)) for c in graph.initializer if c.name in pad.input[2:3]), 0.0)
    pixel = (value - offset) / scale
    return round(pixel) if abs(pixel - round(pixel)) <= 0.01 and 0 <= round(pixel) <= 255 else None


class _Images:
    """The calibration images one by one, as onnxruntime wants them."""

    def __init__(self, images: NDArray[np.uint8]) -> None:
        self._images = iter(images)

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        """Return the next feed; None at the end."""
        image = next(self._images, None)
        return None if image is None else {"image": image[None]}
