"""The tail of a TFLite file: what comes after its trunk, as a file of its own that takes what the trunk gives."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import flatbuffers
import numpy as np

from .tflite_ends import drop_unused
from .tflite_file import read_tflite
from .tflite_finish import PackedBuilder

_DEQUANTIZE, _QUANTIZE = 6, 114  # of BuiltinOperator of the TFLite schema


def tflite_tail(fused: bytes, trunk: bytes) -> bytes | None:
    """Return head and neck of a fused file, as they are in it; None where they do not hang on its trunk by one tensor.

    The input is that tensor: what the `trunk`'s file gives, or where the trunk is int8, what it gives before its last
    step to float32.
    """
    model, alone = read_tflite(fused), read_tflite(trunk)
    graph = model.subgraphs[0]
    shared = _shared(model, alone)
    own = graph.operators[shared:]
    if not own:
        return None
    made = {i for operator in own for i in _indices(operator.outputs)}
    constants = {i for i, t in enumerate(graph.tensors) if model.buffers[t.buffer].data is not None}
    read = {i for operator in own for i in _indices(operator.inputs) if i >= 0} | set(_indices(graph.outputs))
    sources = read - made - constants
    if not shared or _indices(graph.operators[shared - 1].outputs) != list(sources):
        return None
    graph.operators, graph.inputs = own, np.array(list(sources), np.int32)
    model.signatureDefs, model.metadata = [], []
    drop_unused(model)
    builder: flatbuffers.Builder = PackedBuilder()
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _shared(model: Any, trunk: Any) -> int:
    """Return with how many operations a fused file begins as its trunk does, 0 where that is not all of the trunk.

    The trunk may have one more at each end: from uint8 pixels to int8, and from int8 to float32.
    """
    ours, theirs = ([_word(m, o) for o in m.subgraphs[0].operators] for m in (model, trunk))
    if ours[:1] != theirs[:1] and theirs[0][0] == _QUANTIZE:
        theirs = theirs[1:]
    if ours[: len(theirs)] == theirs:
        return len(theirs)
    inner = theirs[:-1]
    return len(inner) if theirs[-1][0] == _DEQUANTIZE and ours[: len(inner)] == inner else 0


def _word(model: Any, operator: Any) -> tuple[Any, ...]:
    """Return what an operation is, and what it gives."""
    tensors = [model.subgraphs[0].tensors[i] for i in _indices(operator.outputs)]
    return (
        int(model.operatorCodes[operator.opcodeIndex].builtinCode),
        len(_indices(operator.inputs)),
        *((int(t.type), tuple(_indices(t.shape)), *_quantization(t)) for t in tensors),
    )


def _quantization(tensor: Any) -> tuple[tuple[float, ...], ...]:
    found = tensor.quantization
    numbers = (None, None) if found is None else (found.scale, found.zeroPoint)
    return tuple(() if part is None else tuple(map(float, part)) for part in numbers)


def _indices(found: Iterable[Any] | None) -> list[int]:
    return [] if found is None else [int(i) for i in found]
