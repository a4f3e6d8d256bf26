"""The tail of an ONNX file: what comes after its trunk, as a file of its own that takes what the trunk gives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

_FEATURES, _GIVEN = "features", "given"


def onnx_tail(fused: bytes, _trunk: bytes) -> bytes | None:
    """Return head and neck of a fused file, as they are in it; None where they do not hang on its `features` alone.

    Features that come out of int8 are made int8 again: an engine computes with that, where it is there.
    """
    import onnx
    from onnx import TensorProto, helper

    model: Any = onnx.load_from_string(fused)
    graph = model.graph
    makes = {name: node for node in graph.node for name in node.output}
    constants = {constant.name for constant in graph.initializer}
    own = _behind_features([o.name for o in graph.output], makes, constants)
    if own is None or _FEATURES not in makes:
        return None
    nodes = [node for node in graph.node if own.intersection(node.output)]
    last = makes[_FEATURES]
    if last.op_type == "DequantizeLinear":
        steps, *grid = last.input
        nodes[:0] = [helper.make_node("QuantizeLinear", [_GIVEN, *grid], [steps], axis=_axis(last)), last]
    else:
        nodes[:0] = [helper.make_node("Identity", [_GIVEN], [_FEATURES])]
    read = {name for node in nodes for name in node.input}
    tail = helper.make_graph(
        nodes,
        "tail",
        [helper.make_tensor_value_info(_GIVEN, TensorProto.FLOAT, ["batch", None])],
        list(graph.output),
        [constant for constant in graph.initializer if constant.name in read],
    )
    made = helper.make_model(tail, opset_imports=model.opset_import, ir_version=model.ir_version)
    return bytes(made.SerializeToString())


def _behind_features(outputs: Iterable[str], makes: Mapping[str, Any], constants: set[str]) -> set[str] | None:
    """Return the tensors between `features` and the outputs, these among them; None where they come from more."""
    own: set[str] = set()
    wanted = list(outputs)
    while wanted:
        name = wanted.pop()
        if not name or name in own or name == _FEATURES or name in constants:
            continue
        if name not in makes:  # the image
            return None
        own.add(name)
        wanted += makes[name].input
    return own


def _axis(node: Any) -> int:
    return next((int(a.i) for a in node.attribute if a.name == "axis"), 1)
