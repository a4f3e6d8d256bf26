"""The two ends of a TFLite file: int8 in place of the uint8 that comes in and the float32 that goes out.

The converter's int8 file begins with QUANTIZE, from uint8 pixels to int8, and ends with DEQUANTIZE for each output.
Where the device wants int8, those operations go, and what they converted becomes the input or the output.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from tlc_edge.runtime.errors import BuildError

# BuiltinOperator and TensorType of the TFLite schema.
_DEQUANTIZE, _QUANTIZE = 6, 114
_INT8 = 9


def int8_input(model: Any) -> None:
    """Take the leading QUANTIZE off a model, given as the schema's object form; its input becomes int8.

    Raises:
        BuildError: the model does not begin with one, to int8.
    """
    graph = model.subgraphs[0]
    (source,) = (int(i) for i in graph.inputs)
    readers = [o for o in graph.operators if source in _indices(o.inputs)]
    first = readers[0] if len(readers) == 1 else None
    if first is None or _code(model, first) != _QUANTIZE or not _is_int8(graph, int(first.outputs[0])):
        raise BuildError("this network does not begin in int8, so its input cannot be int8; choose another backbone")
    graph.inputs = np.array([first.outputs[0]], np.int32)
    graph.operators.remove(first)


def int8_outputs(model: Any) -> None:
    """Take the DEQUANTIZE before each output off a model; its outputs become int8.

    Raises:
        BuildError: an output does not come from one, out of int8.
    """
    graph = model.subgraphs[0]
    outputs: list[int] = []
    for output in _indices(graph.outputs):
        last = next(o for o in graph.operators if output in _indices(o.outputs))
        if _code(model, last) != _DEQUANTIZE or not _is_int8(graph, int(last.inputs[0])):
            raise BuildError("this network does not end in int8, so its outputs cannot be int8; try another --shave")
        outputs.append(int(last.inputs[0]))
        graph.operators.remove(last)
    graph.outputs = np.array(outputs, np.int32)


def drop_unused(model: Any) -> None:
    """Take tensors, buffers and operator codes off that nothing refers to; a microcontroller has no room for them."""
    graph = model.subgraphs[0]
    used = {*_indices(graph.inputs), *_indices(graph.outputs)}
    for operator in graph.operators:
        used |= {*_indices(operator.inputs), *_indices(operator.outputs), *_indices(operator.intermediates)}
    tensors = _renumbered(used)
    graph.tensors = [graph.tensors[i] for i in tensors]
    graph.inputs, graph.outputs = (_mapped(v, tensors) for v in (graph.inputs, graph.outputs))
    codes = _renumbered({int(o.opcodeIndex) for o in graph.operators})
    model.operatorCodes = [model.operatorCodes[i] for i in codes]
    for operator in graph.operators:
        operator.opcodeIndex = codes[int(operator.opcodeIndex)]
        operator.inputs, operator.outputs = (_mapped(v, tensors) for v in (operator.inputs, operator.outputs))
        if operator.intermediates is not None:
            operator.intermediates = _mapped(operator.intermediates, tensors)
    # Buffer 0 is the empty one that every tensor without data refers to.
    kept = {0, *(int(t.buffer) for t in graph.tensors), *(int(m.buffer) for m in model.metadata or [])}
    buffers = _renumbered(kept)
    model.buffers = [model.buffers[i] for i in buffers]
    for holder in (*graph.tensors, *(model.metadata or [])):
        holder.buffer = buffers[int(holder.buffer)]


def _renumbered(used: set[int]) -> dict[int, int]:
    return {old: new for new, old in enumerate(sorted(i for i in used if i >= 0))}


def _mapped(indices: Any, numbers: dict[int, int]) -> Any:
    return np.array([numbers[i] if i >= 0 else i for i in _indices(indices)], np.int32)


def _indices(found: Iterable[Any] | None) -> list[int]:
    return [] if found is None else [int(i) for i in found]


def _code(model: Any, operator: Any) -> int:
    return int(model.operatorCodes[operator.opcodeIndex].builtinCode)


def _is_int8(graph: Any, tensor: int) -> bool:
    return int(graph.tensors[tensor].type) == _INT8
