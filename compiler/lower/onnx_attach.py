"""Attach head and neck to a trunk's ONNX file, as Gemm nodes.

Their weights are kept as the trunk's scheme keeps them. What they give stays float32: in layers that small, to
quantize it would save next to no time, and cost accuracy where it counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tlc_edge.compiler.records import Dense, Head, LoweredTrunk, Neck
from tlc_edge.targets.schemes import SCHEMES

from .onnx_weights import add_weights


def attach_onnx(trunk: LoweredTrunk, head: Head, neck: Neck) -> Any:
    """Return an ONNX model with the outputs `probabilities` (none for a head without classes) and `embedding`.

    The trunk's one output is called `features`.
    """
    import onnx
    from onnx import TensorProto, helper

    model: Any = onnx.load_from_string(trunk.data)
    graph = model.graph
    batch = graph.output[0].type.tensor_type.shape.dim[0].dim_value or "batch"
    del graph.output[:]

    def output(name: str, width: int) -> None:
        graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, width]))

    if head.layers:
        _stack(model, head.layers, trunk.scheme, "head", "probabilities")
        output("probabilities", head.layers[-1].kernel.shape[1])
    if neck.kernel is not None and neck.bias is not None:
        source = "features"
        if neck.root:
            graph.node.append(helper.make_node("Sqrt", [source], ["neck_root"], name="neck_root"))
            source = "neck_root"
        _stack(model, (Dense(neck.kernel, neck.bias, "linear"),), trunk.scheme, "neck", "embedding", source)
    else:
        graph.node.append(helper.make_node("Identity", ["features"], ["embedding"], name="neck"))
    output("embedding", neck.width)
    onnx.checker.check_model(model)
    return model


def _stack(model: Any, layers: Sequence[Dense], scheme: str, name: str, output: str, source: str = "features") -> None:
    from onnx import helper

    graph = model.graph
    kept = SCHEMES[scheme].weights
    for i, layer in enumerate(layers):
        kernel = add_weights(graph, f"{name}_{i}_kernel", layer.kernel, kept)
        bias = add_weights(graph, f"{name}_{i}_bias", layer.bias, "float32")
        last = i == len(layers) - 1
        plain = layer.activation == "linear"
        target = output if last and plain else f"{name}_{i}_linear"
        graph.node.append(helper.make_node("Gemm", [source, kernel, bias], [target], name=f"{name}_{i}"))
        source = target
        if not plain:
            kind = {"relu": "Relu", "softmax": "Softmax"}[layer.activation]
            target = output if last else f"{name}_{i}_{layer.activation}"
            given: dict[str, Any] = {"axis": -1} if kind == "Softmax" else {}
            graph.node.append(
                helper.make_node(kind, [source], [target], name=f"{name}_{i}_{layer.activation}", **given)
            )
            source = target
