"""Operations that the converter from TensorFlow leaves as they are, as ONNX has none of their name."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from tlc_edge.compiler.network.onnx_graph import add_constant, run, until
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
    unknown = {node.op_type for node in graph.node if not node.domain and not _has(node.op_type, opset)}
    if unknown:
        raise BuildError(cannot_say(unknown))
    if any(a.HasField("g") for node in graph.node for a in node.attribute):
        raise BuildError(
            "the network decides on its way what it computes (as Resizing with pad_to_aspect_ratio does), which its "
            "ONNX file could not; build for a target without an ONNX file"
        )


def cannot_say(kinds: Collection[str]) -> str:
    """Return what is told of operations that ONNX has not."""
    return (
        f"the network has {', '.join(sorted(kinds))[:80]}, which ONNX has not; build for a target without an ONNX file"
    )


def hold_captured(model: Any, traced: Any) -> None:
    """Make constants of the numbers that a network holds outside of its variables, in place.

    The mean of a Normalization is such: the converter takes it for a further input. `traced` is the graph that was
    converted. What follows from constants alone is computed here, too.
    """
    from onnx import numpy_helper

    held = {inner.name: outer for outer, inner in traced.captures if hasattr(outer, "numpy")}
    graph = model.graph
    image = graph.input[0].name
    known = {i.name for i in graph.initializer}
    for value in list(graph.input)[1:]:
        if value.name in held:
            graph.input.remove(value)
            if value.name not in known:
                graph.initializer.append(numpy_helper.from_array(np.asarray(held[value.name].numpy()), value.name))
    changing = {image}
    for node in graph.node:
        if changing.intersection(node.input):
            changing.update(node.output)
    fixed = [node for node in graph.node if not changing.intersection(node.output)]
    wanted = list(dict.fromkeys(t for n in graph.node if n not in fixed for t in n.input if t))
    given = {t for node in fixed for t in node.output}
    tensors = [t for t in wanted if t in given]
    if tensors:
        part = until(model, tensors)
        del part.graph.input[:]
        values = run(part, {})
        for tensor, value in zip(tensors, values, strict=True):
            add_constant(graph, tensor, value)
    for node in fixed:
        graph.node.remove(node)


def _has(kind: str, opset: int) -> bool:
    from onnx import defs

    try:
        defs.get_schema(kind, opset, "")
    except defs.SchemaError:
        return False
    return True
