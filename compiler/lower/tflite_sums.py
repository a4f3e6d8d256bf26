"""The ranges of what is summed: TensorFlow's calibrator sees them right only where a sum cannot be written over them.

TFLite computes ADD in place where nothing else reads one of its inputs. The calibrator looks at an operation's inputs
after it has run, so it takes the sum's range for that input's too: in MobileNetV2 a convolution got a scale up to twice
too coarse, and the embedding's cosine to float fell from 0.85 to 0.82. An input that is an output of the network as
well is left alone; so the graph that is calibrated has these further outputs, and the file loses them again. The
converter calls outputs `Identity`, so their layers' names are given back to them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tlc_edge.compiler.network.walk import steps

from .tflite_file import operation_names, pack_tflite, read_tflite


def with_summands(model: Any) -> Any:
    """Return a trunk with what its Add layers read as further outputs after its own, or itself if it has no such."""
    from keras import Model

    found = steps(model)
    inner = {key for step in found for key in step.outputs} - {id(tensor) for tensor in model.outputs}
    summands = {
        id(tensor): tensor
        for step in found
        if step.kind == "Add"
        for tensor in step.node.input_tensors
        if id(tensor) in inner and len(step.inputs) > 1
    }
    return Model(model.input, [*model.outputs, *summands.values()], name=model.name) if summands else model


def output_layers(model: Any) -> tuple[str, ...]:
    """Return the names of the layers that give a model's outputs."""
    givers = {key: step.layer.name for step in steps(model) for key in step.outputs}
    return tuple(givers.get(id(tensor), "") for tensor in model.outputs)


def first_output_only(data: bytes, layers: Sequence[str]) -> bytes:
    """Return a TFLite file without all its outputs but the first, and without what only they needed.

    `layers` are the layers that give the outputs; those that stay in the file as inner tensors get their names.
    """

    model = read_tflite(data)
    graph = model.subgraphs[0]
    if len(graph.outputs) == 1:
        return data
    codes = operation_names()
    written = {int(operator.outputs[0]): operator for operator in graph.operators}
    for index, layer in zip(graph.outputs[1:], layers[1:], strict=True):
        operator = written[int(index)]
        given_in_float = codes[int(model.operatorCodes[operator.opcodeIndex].builtinCode)] == "DEQUANTIZE"
        graph.tensors[int(operator.inputs[0] if given_in_float else index)].name = layer
    needed = {int(graph.outputs[0])}
    operators: list[Any] = []
    for operator in reversed(graph.operators):
        if needed & {int(i) for i in operator.outputs}:
            operators.insert(0, operator)
            needed |= {int(i) for i in operator.inputs if i >= 0}
    kept = sorted(needed | {int(i) for i in graph.inputs})
    places = {-1: -1, **{old: new for new, old in enumerate(kept)}}

    def moved(indices: Any) -> Any:
        return np.array([places[int(i)] for i in indices], np.int32)

    for operator in operators:
        operator.inputs, operator.outputs = moved(operator.inputs), moved(operator.outputs)
    graph.operators, graph.tensors = operators, [graph.tensors[i] for i in kept]
    graph.inputs, graph.outputs = moved(graph.inputs), moved(graph.outputs[:1])
    model.signatureDefs = []  # of outputs that are gone; what finishes the file writes one
    return pack_tflite(model)
