"""What a TFLite file is really made of: a file that claims a scheme and holds another is not shipped."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from tlc_edge.runtime.errors import BuildError
from tlc_edge.targets.schemes import SCHEMES

from .holds import holds, said
from .tflite_file import only_graph, operation_names, read_tflite

# TensorType of the TFLite schema.
_NAMES = {0: "float32", 1: "float16", 2: "int32", 3: "uint8", 4: "int64", 6: "bool", 7: "int16", 9: "int8"}
_LARGE = 1024
_CONVERTING = frozenset({"DEQUANTIZE", "QUANTIZE", "CAST"})


@dataclass(frozen=True)
class Content:
    """Counts over a file's one subgraph."""

    operations: Counter[str]
    """By name, as the TFLite schema spells them."""
    activations: Counter[str]
    """Operations by the type of what they give, those left out that only convert or compare."""
    floats: Counter[str]
    """Those that give float32, by name."""
    weights: Counter[str]
    """Bytes of constants of two dimensions and more, by their type."""
    large: Counter[str]
    """The same, of constants with 1,024 values or more: in `dynamic` the converter leaves smaller ones as they are."""


def read_content(data: bytes) -> Content:
    """Count a TFLite file's operations and tensors by type."""
    model = read_tflite(data)
    codes = operation_names()
    graph = only_graph(model)
    operations: Counter[str] = Counter()
    activations: Counter[str] = Counter()
    floats: Counter[str] = Counter()
    for operator in graph.operators:
        name = codes[int(model.operatorCodes[operator.opcodeIndex].builtinCode)]
        operations[name] += 1
        if name not in _CONVERTING:
            kind = _type(graph.tensors[int(operator.outputs[0])])
            if kind == "bool":  # a comparison, as of a SELU: it decides, and computes nothing
                continue
            activations[kind] += 1
            floats[name] += kind == "float32"
    weights: Counter[str] = Counter()
    large: Counter[str] = Counter()
    for tensor in graph.tensors:
        buffer = model.buffers[tensor.buffer].data
        if buffer is not None and len(buffer) and tensor.shape is not None and len(tensor.shape) > 1:
            weights[_type(tensor)] += int(np.size(buffer))
            if int(np.prod(tensor.shape)) >= _LARGE:
                large[_type(tensor)] += int(np.size(buffer))
    return Content(operations, activations, +floats, weights, large)


def check_content(data: bytes, scheme: str) -> None:
    """Check that a file holds what its scheme says, as the table of schemes has it.

    Raises:
        BuildError: it does not; says what was found.
    """
    found = read_content(data)
    if not holds(SCHEMES[scheme].forms["tflite"].holds, found.activations, found.weights, found.large):
        raise BuildError(
            f"the converter made a file that is not {scheme}: operations give {said(found.activations)}, weights are "
            f"{said(found.weights)} (bytes); choose another --scheme, or report it"
        )


def left_in_float(data: bytes) -> str | None:
    """Return a sentence about the operations that an int8 file does in float32; None where there are none."""
    found = read_content(data)
    if not found.floats:
        return None
    return (
        f"the int8 file does {found.floats.total()} of {found.activations.total()} operations in float32, as TFLite "
        f"has them in nothing else: {said(found.floats)}"
    )


def _type(tensor: Any) -> str:
    return _NAMES.get(int(tensor.type), f"type {int(tensor.type)}")
