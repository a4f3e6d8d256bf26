"""What an ONNX file is really made of: a file that claims a scheme and holds another is not shipped."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

from tlc_edge.runtime.errors import BuildError
from tlc_edge.targets.schemes import SCHEMES

from .holds import holds, said

_MULTIPLYING = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
# They convert, or move values about and compute nothing.
_PLAIN = frozenset(
    {
        "QuantizeLinear", "DequantizeLinear", "Cast", "Identity", "Transpose", "Reshape", "Flatten", "Squeeze",
        "Unsqueeze", "Shape", "Constant", "Concat", "Slice", "Pad", "Gather",
    }
)  # fmt: skip
_PIXELS = frozenset({"Sub", "Mul", "Div", "Add"})


@dataclass(frozen=True)
class OnnxContent:
    """Counts over a file's graph."""

    operations: Counter[str]
    """By name, as ONNX spells them."""
    activations: Counter[str]
    """Operations by the type in which they compute: `uint8` or `int8` where both what they read and their weights were
    quantized just before."""
    floats: Counter[str]
    """Those that compute in float32, by name; without the ones that normalise the pixels."""
    weights: Counter[str]
    """Bytes of what convolutions and dense layers multiply by, by type."""


def read_onnx_content(data: bytes) -> OnnxContent:
    """Count an ONNX file's operations and constants by type."""
    import onnx
    from onnx import numpy_helper

    model: Any = onnx.load_from_string(data)
    graph = model.graph
    constants = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
    pixels = {node.name for node in normalising_nodes(graph)}
    made_by = {output: node for node in graph.node for output in node.output}
    activations: Counter[str] = Counter()
    floats: Counter[str] = Counter()
    for node in graph.node:
        if node.op_type in _PLAIN or node.name in pixels:
            continue
        plain_weight = node.op_type in _MULTIPLYING and node.input[1] in constants
        kind = "float32" if plain_weight else _read_type(node, made_by, constants)
        activations[kind] += 1
        floats[node.op_type] += kind == "float32"
    weights: Counter[str] = Counter()
    for node in graph.node:
        for name in node.input[1:2] if node.op_type in _MULTIPLYING else ():
            source = made_by.get(name)
            values = constants.get(name if source is None else source.input[0])
            if values is not None:  # two computed matrices can be multiplied, too
                weights[str(values.dtype)] += values.nbytes
    return OnnxContent(Counter(n.op_type for n in graph.node), activations, +floats, weights)


def check_onnx_content(data: bytes, scheme: str, attached: bool = False) -> None:
    """Check that a file holds what its scheme says, as the table of schemes has it.

    With head and neck `attached`, whose inner operations are float32, there may be any number of those.

    Raises:
        BuildError: it does not; says what was found.
    """
    found = read_onnx_content(data)
    wanted = SCHEMES[scheme].forms["onnx"].holds
    if not holds(wanted, found.activations, found.weights, found.weights, attached):
        raise BuildError(
            f"the ONNX file made is not {scheme}: operations read {said(found.activations)}, weights are "
            f"{said(found.weights)} (bytes); choose another --scheme, or report it"
        )


def normalising_nodes(graph: Any) -> list[Any]:
    """Return the nodes that turn pixels into what the first layer takes, in order."""
    constants = {i.name: math.prod(i.dims) for i in graph.initializer}
    readers: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    name = graph.input[0].name
    found: list[Any] = []
    while len(readers.get(name, ())) == 1:
        (node,) = readers[name]
        moves = node.op_type in _PLAIN - {"QuantizeLinear", "DequantizeLinear"}
        if not (moves or node.op_type in _PIXELS) or not all(i in constants for i in node.input if i != name):
            break
        if not moves and any(constants[i] > 1 for i in node.input if i != name):
            break  # of one number for all channels and places is the input's scale and offset; no other
        found.append(node)
        name = node.output[0]
    return found


def _read_type(node: Any, made_by: dict[str, Any], constants: dict[str, Any]) -> str:
    """Return the type in which a node's first computed input comes."""
    for name in node.input:
        if not name or name in constants:
            continue
        source = made_by.get(name)
        if source is not None and source.op_type == "Cast" and source.input[0] in constants:
            continue  # a weight
        while source is not None and source.op_type in _PLAIN - {"DequantizeLinear", "QuantizeLinear", "Cast"}:
            source = made_by.get(source.input[0]) if source.input else None
        if source is not None and source.op_type == "DequantizeLinear":
            if source.input[0] in constants:
                continue  # a weight
            zero = constants.get(source.input[2]) if len(source.input) > 2 else None
            return "uint8" if zero is None else str(zero.dtype)
        return "float32"
    return "float32"
