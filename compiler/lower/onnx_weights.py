"""How an ONNX file keeps weights: as they are, as float16, or as int8 with one scale per channel.

The two smaller forms are turned into float32 by one node, at whose place an engine puts the result when it loads the
file: bytes are saved, and no operation is slower or less exact than it must be.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_LARGEST_HALF = float(np.finfo(np.float16).max)
_LARGE = 16  # values from which the bytes saved come near what a node takes


def add_weights(graph: Any, name: str, values: NDArray[np.float32], kept: str) -> str:
    """Add a constant to a graph; return the name of the float32 tensor with its values.

    `kept` is the type that it is kept in. float16: each value rounded to half precision. int8: the last axis is the
    channel, symmetric, one scale each, as the ONNX quantization specification has weights.
    """
    from onnx import helper, numpy_helper

    if kept == "float16" and _fits_half(values):
        graph.initializer.append(numpy_helper.from_array(values.astype(np.float16), f"{name}_half"))
        graph.node.insert(0, helper.make_node("Cast", [f"{name}_half"], [name], name=f"{name}_cast", to=1))
    elif kept == "int8" and values.ndim > 1:
        scales = np.maximum(np.abs(values).reshape(-1, values.shape[-1]).max(axis=0), 1e-12) / np.float32(127)
        rows = np.clip(np.rint(values / scales), -127, 127).astype(np.int8)
        zeros = np.zeros(len(scales), np.int8)
        parts = {f"{name}_int8": rows, f"{name}_scale": scales.astype(np.float32), f"{name}_zero": zeros}
        graph.initializer.extend(numpy_helper.from_array(value, key) for key, value in parts.items())
        axis = values.ndim - 1
        graph.node.insert(0, helper.make_node("DequantizeLinear", list(parts), [name], name=f"{name}_dq", axis=axis))
    else:
        graph.initializer.append(numpy_helper.from_array(values, name))
    return name


def halve(model: Any) -> None:
    """Keep every large float32 constant of an ONNX model as float16."""
    from onnx import TensorProto, numpy_helper

    graph = model.graph
    found = [i for i in graph.initializer if i.data_type == TensorProto.FLOAT and np.prod(i.dims) >= _LARGE]
    for constant in found:
        graph.initializer.remove(constant)
    for constant in reversed(found):  # each is put first, so that all end in their order
        add_weights(graph, constant.name, numpy_helper.to_array(constant), "float16")


def _fits_half(values: NDArray[np.float32]) -> bool:
    return values.size >= _LARGE and float(np.abs(values).max()) <= _LARGEST_HALF
