"""The trunk of an ONNX network as a file: pixels in, `features` out, with no node that does nothing."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.network.onnx_begin import IMAGE
from tlc_edge.compiler.network.onnx_graph import add_constant, attribute, constants, drop_unread, fresh, readers
from tlc_edge.compiler.records import InputSpec, Trunk
from tlc_edge.compiler.weights.onnx_file import name_nodes
from tlc_edge.runtime.errors import BuildError, first_line
from tlc_edge.runtime.quiet import quiet


def trunk_model(trunk: Trunk) -> Any:
    """Return the float32 ONNX model of a trunk that is an ONNX network.

    Raises:
        BuildError: onnxruntime, which takes out what does nothing, refuses it.
    """
    given: Any = type(trunk.model.model)()
    given.CopyFrom(trunk.model.model)
    _take_pixels(given.graph, trunk.backbone.input)
    model = _simplified(trunk.backbone.name, given)
    for conv in [node for node in model.graph.node if node.op_type == "Conv"]:
        while _take_affine(model.graph, conv):
            pass
    drop_unread(model.graph)
    name_nodes(model.graph)
    return model


def _take_pixels(graph: Any, spec: InputSpec) -> None:
    """Put the normalisation of uint8 pixels before all else."""
    from onnx import TensorProto, helper

    taken = {n for node in graph.node for n in (node.name, *node.output, *node.input)}
    last, nodes = IMAGE, list[Any]()
    steps: list[tuple[str, float | None]] = [("Cast", None), ("Sub", spec.mean), ("Mul", 1 / spec.std)]
    for kind, value in steps:
        if value == (0.0 if kind == "Sub" else 1.0):
            continue
        name = fresh(taken, f"pixels_{kind.lower()}")
        if value is None:
            nodes.append(helper.make_node(kind, [last], [name], name=name, to=TensorProto.FLOAT))
        else:
            constant = add_constant(graph, fresh(taken, f"{name}_value"), np.asarray(value, np.float32))
            nodes.append(helper.make_node(kind, [last, constant], [name], name=name))
        last = name
    for node in graph.node:
        node.input[:] = [last if name == IMAGE else name for name in node.input]
    for node in reversed(nodes):
        graph.node.insert(0, node)
    graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8


def _simplified(name: str, given: Any) -> Any:
    """Return a model as onnxruntime's exact optimizations leave it: no transpositions in pairs, no batch norms."""
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    try:
        with quiet(), tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "simple.onnx"
            options.optimized_model_filepath = str(path)
            onnxruntime.InferenceSession(given.SerializeToString(), options, providers=["CPUExecutionProvider"])
            model: Any = onnx.load(path)
    except Exception as e:  # onnxruntime's errors share no base
        raise BuildError(f"{name} cannot be run in onnxruntime ({first_line(e)})") from None
    if any(node.domain not in ("", "ai.onnx") for node in model.graph.node):
        return given  # operations of its own, which no other engine has
    del model.opset_import[:]
    model.opset_import.extend(given.opset_import)
    model.ir_version = given.ir_version
    del model.graph.value_info[:]
    return model


def _take_affine(graph: Any, conv: Any) -> bool:
    """Make a factor or offset for each channel, which alone reads a convolution, part of it; False if there is none."""
    known, reading = constants(graph), readers(graph).get(conv.output[0], [])
    ends = {o.name for o in graph.output}
    if len(reading) != 1 or conv.output[0] in ends or not set(filter(None, conv.input[1:])) <= set(known):
        return False
    (node,) = reading
    kernel = known[conv.input[1]].astype(np.float64)
    found = _affine(node, known, len(kernel))
    if found is None:
        return False
    factor, offset = found
    bias = known[conv.input[2]] if len(conv.input) > 2 and conv.input[2] else np.zeros(len(kernel))
    names = [fresh(known, f"{conv.name}_{part}") for part in ("kernel", "bias")]
    add_constant(graph, names[0], (kernel * factor.reshape(-1, 1, 1, 1)).astype(np.float32))
    add_constant(graph, names[1], (bias * factor + offset).astype(np.float32))
    conv.input[1:] = names
    conv.output[0] = node.output[0]
    graph.node.remove(node)
    return True


def _affine(node: Any, known: dict[str, NDArray[Any]], channels: int) -> tuple[Any, Any] | None:
    one, nothing = np.ones(channels), np.zeros(channels)
    if node.op_type == "BatchNormalization" and set(node.input[1:]) <= set(known):
        scale, bias, mean, variance = (known[name].astype(np.float64) for name in node.input[1:])
        factor = scale / np.sqrt(variance + attribute(node, "epsilon", 1e-5))
        return factor, bias - mean * factor
    if node.op_type not in ("Add", "Sub", "Mul", "Div"):
        return None
    first = node.input[0] not in known
    values = known.get(node.input[1 if first else 0])
    if values is None or values.ndim > 4:
        return None
    shape = (1,) * (4 - values.ndim) + values.shape
    if values.size != 1 and not (values.size == channels == shape[1]):
        return None
    v = np.broadcast_to(values.astype(np.float64).ravel(), channels)
    if node.op_type == "Add":
        return one, v
    if node.op_type == "Sub":
        return (one, -v) if first else (-one, v)
    if node.op_type == "Mul":
        return v, nothing
    return (1 / v, nothing) if first and v.all() else None
