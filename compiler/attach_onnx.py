"""Attach head and neck to a trunk's ONNX file, as Gemm nodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .records import Dense, Head, Neck


def attach_onnx(trunk: bytes, head: Head, neck: Neck) -> Any:
    """Return an ONNX model with the outputs `probabilities` (none for a head without classes) and `embedding`.

    The trunk's one output is called `features`.
    """
    import onnx
    from onnx import TensorProto, helper

    model: Any = onnx.load_from_string(trunk)
    graph = model.graph
    del graph.output[:]

    def output(name: str, width: int) -> None:
        graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", width]))

    if head.layers:
        _stack(model, head.layers, "head", "probabilities")
        output("probabilities", head.layers[-1].kernel.shape[1])
    if neck.kernel is not None and neck.bias is not None:
        _stack(model, (Dense(neck.kernel, neck.bias, "linear"),), "neck", "embedding")
    else:
        graph.node.append(helper.make_node("Identity", ["features"], ["embedding"], name="neck"))
    output("embedding", neck.width)
    onnx.checker.check_model(model)
    return model


def _stack(model: Any, layers: Sequence[Dense], name: str, output: str) -> None:
    from onnx import helper, numpy_helper

    graph = model.graph
    source = "features"
    for i, layer in enumerate(layers):
        kernel, bias = f"{name}_{i}_kernel", f"{name}_{i}_bias"
        graph.initializer.append(numpy_helper.from_array(layer.kernel, kernel))
        graph.initializer.append(numpy_helper.from_array(layer.bias, bias))
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
