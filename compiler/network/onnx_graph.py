"""Small steps on ONNX graphs: run them, cut them, bring them to one operator set."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlc_edge.runtime.quiet import quiet

Arrays = Mapping[str, NDArray[Any]]


def constants(graph: Any) -> dict[str, NDArray[Any]]:
    """Return the initializers of a graph as arrays, by name."""
    from onnx import numpy_helper

    return {i.name: numpy_helper.to_array(i) for i in graph.initializer}


def attribute(node: Any, name: str, default: Any = None) -> Any:
    """Return a node's attribute, `default` where it has none."""
    from onnx import helper

    return next((helper.get_attribute_value(a) for a in node.attribute if a.name == name), default)


def readers(graph: Any) -> dict[str, list[Any]]:
    """Return the nodes that read each tensor."""
    found: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in dict.fromkeys(node.input):
            found.setdefault(name, []).append(node)
    return found


def depending(graph: Any, source: str) -> set[str]:
    """Return the tensors whose values depend on those of `source`; a shape that is read off it does not."""
    found = {source}
    for node in graph.node:
        if node.op_type not in ("Shape", "Size") and found.intersection(node.input):
            found.update(filter(None, node.output))
    return found


def until(model: Any, tensors: Sequence[str]) -> Any:
    """Return a copy of a model that gives these tensors and has no node or constant that they do not need."""
    import onnx

    wanted, kept = set(tensors), []
    for node in reversed(model.graph.node):
        if wanted.intersection(node.output):
            kept.append(node)
            wanted.update(node.input)
    copy: Any = onnx.ModelProto(ir_version=model.ir_version)
    copy.opset_import.extend(model.opset_import)
    copy.graph.name = model.graph.name
    copy.graph.node.extend(reversed(kept))
    copy.graph.initializer.extend(i for i in model.graph.initializer if i.name in wanted)
    names = {i.name for i in model.graph.initializer}
    copy.graph.input.extend(i for i in model.graph.input if i.name not in names)
    given = {o.name: o for o in model.graph.output}
    copy.graph.output.extend(given.get(name) or onnx.ValueInfoProto(name=name) for name in dict.fromkeys(tensors))
    return copy


def session(model: Any, *, plain: bool = False) -> Any:
    """Open a model in onnxruntime on the CPU; `plain` runs each node as it stands.

    Raises:
        Exception: onnxruntime refuses it; its errors share no base but this.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    if plain:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    with quiet():
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def run(model: Any, feed: Arrays, outputs: Sequence[str] | None = None, *, plain: bool = False) -> list[NDArray[Any]]:
    """Run a model once.

    Raises:
        Exception: onnxruntime refuses it, or fails.
    """
    opened = session(model, plain=plain)
    with quiet():
        return [np.asarray(value) for value in opened.run(None if outputs is None else list(outputs), dict(feed))]


def set_input(value: Any, name: str, shape: Iterable[int | str], kind: int) -> None:
    """Say name, type and shape of a graph's input or output."""
    from onnx import helper

    value.CopyFrom(helper.make_tensor_value_info(name, kind, list(shape)))


def add_constant(graph: Any, name: str, values: NDArray[Any]) -> str:
    """Add an initializer; return its name."""
    from onnx import numpy_helper

    graph.initializer.append(numpy_helper.from_array(np.asarray(values, order="C"), name))
    return name


def drop_unread(graph: Any) -> None:
    """Remove the initializers that nothing reads."""
    read = {name for node in graph.node for name in node.input} | {o.name for o in graph.output}
    kept = [c for c in graph.initializer if c.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def fresh(taken: Collection[str], wanted: str) -> str:
    """Return a name that is not taken."""
    name, number = wanted, 1
    while name in taken:
        name, number = f"{wanted}_{number}", number + 1
    return name
