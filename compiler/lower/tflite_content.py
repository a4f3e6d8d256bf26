"""What a TFLite file is really made of: a file that claims a scheme and holds another is not shipped."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from tlc_edge.runtime.errors import BuildError

from .tflite_file import operation_names, read_tflite

# TensorType of the TFLite schema.
_NAMES = {0: "float32", 1: "float16", 2: "int32", 3: "uint8", 4: "int64", 6: "bool", 7: "int16", 9: "int8"}
_LARGE = 1024
_FEW = 0.25  # of the operations; more, and it is a float file with int8 weights
_CONVERTING = frozenset({"DEQUANTIZE", "QUANTIZE", "CAST"})


@dataclass(frozen=True)
class Content:
    """Counts over a file's one subgraph."""

    operations: Counter[str]
    """By name, as the TFLite schema spells them."""
    activations: Counter[str]
    """Operations by the type of what they give, those left out that only convert."""
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
    (graph,) = model.subgraphs
    operations: Counter[str] = Counter()
    activations: Counter[str] = Counter()
    floats: Counter[str] = Counter()
    for operator in graph.operators:
        name = codes[int(model.operatorCodes[operator.opcodeIndex].builtinCode)]
        operations[name] += 1
        if name not in _CONVERTING:
            kind = _type(graph.tensors[int(operator.outputs[0])])
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
    """Check that a file holds what its scheme says.

    int8: every weight is int8, and every operation gives int8 but for a few that TFLite has in float32 alone, such as
    ELU (see `left_in_float`); mixed: some of both are int8, some float32; int16x8: int16 and int8; float16: weights are
    float16; dynamic: the large weights are int8; float32: all is float32.

    Raises:
        BuildError: it does not; says what was found.
    """
    found = read_content(data)
    small = sum(found.weights.values()) * 0.05  # the converter leaves the smallest constants as they are
    floats = found.weights["float32"]
    wrong = {
        "int8": set(found.activations) - {"int8", "float32"}
        or floats
        or found.activations["float32"] > _FEW * found.activations.total(),
        "mixed": not (found.weights["int8"] and floats) or set(found.activations) != {"int8", "float32"},
        # Pixels become int16 through float32, at the very start; head and neck are float32.
        "int16x8": set(found.activations) - {"int16", "float32"}
        or set(found.weights) - {"int8", "float32", "int32"}
        or not found.activations["int16"]
        or floats > small,
        "float16": floats > small or not found.weights["float16"],
        "dynamic": set(found.large) - {"int8"} or set(found.activations) - {"float32"},
        "float32": set(found.activations) - {"float32"} or set(found.weights) - {"float32", "int32"},
    }[scheme]
    if wrong:
        raise BuildError(
            f"the converter made a file that is not {scheme}: operations give {_said(found.activations)}, weights are "
            f"{_said(found.weights)} (bytes); choose another --scheme, or report it"
        )


def left_in_float(data: bytes) -> str | None:
    """Return a sentence about the operations that an int8 file does in float32; None where there are none."""
    found = read_content(data)
    if not found.floats:
        return None
    return (
        f"the int8 file does {found.floats.total()} of {found.activations.total()} operations in float32, as TFLite "
        f"has them in nothing else: {_said(found.floats)}"
    )


def _type(tensor: Any) -> str:
    return _NAMES.get(int(tensor.type), f"type {int(tensor.type)}")


def _said(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.most_common())
