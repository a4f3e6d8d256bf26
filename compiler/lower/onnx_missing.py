"""Operations that the converter from TensorFlow leaves as they are, as ONNX has none of their name."""

from __future__ import annotations

from typing import Any

import numpy as np

from tlc_edge.runtime.errors import BuildError

_ONE = "one_of_all"


def express(model: Any, opset: int) -> None:
    """Write what ONNX has not as operations that it has, in place: the `Erfc` of an exact GELU, the `Expm1` of a CELU.

    Raises:
        BuildError: an operation is left that ONNX has not.
    """
    from onnx import helper, numpy_helper

    graph = model.graph
    made: list[Any] = []
    for node in graph.node:
        if node.op_type not in ("Erfc", "Expm1") or node.domain:
            made.append(node)
            continue
        inner, kind = f"{node.output[0]}/inner", {"Erfc": "Erf", "Expm1": "Exp"}[node.op_type]
        read = [_ONE, inner] if kind == "Erf" else [inner, _ONE]
        made.append(helper.make_node(kind, [node.input[0]], [inner], name=f"{node.name}/inner"))
        made.append(helper.make_node("Sub", read, [node.output[0]], name=node.name))
    if len(made) > len(graph.node):
        graph.initializer.append(numpy_helper.from_array(np.array(1, np.float32), _ONE))
        del graph.node[:]
        graph.node.extend(made)
    unknown = sorted({node.op_type for node in graph.node if not node.domain and not _has(node.op_type, opset)})
    if unknown:
        raise BuildError(
            f"the network has {', '.join(unknown)[:80]}, which ONNX has not; build for a target without an ONNX file"
        )


def _has(kind: str, opset: int) -> bool:
    from onnx import defs

    try:
        defs.get_schema(kind, opset, "")
    except defs.SchemaError:
        return False
    return True
