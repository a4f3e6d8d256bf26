"""Nodes in the one form that every later step knows, where ONNX has several that mean the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .onnx_graph import add_constant, attribute, constants, fresh

_FIRST_WITH_MODES = 11
"""Before it, Resize and Upsample had one way to find places, and no attribute for it."""


def plain_gemm(graph: Any) -> None:
    """Take the factors of dense layers into their constants, in place: quantizers and classifiers know of none."""
    known = constants(graph)
    for node in graph.node:
        if node.op_type != "Gemm":
            continue
        for at, name in ((1, "alpha"), (2, "beta")):
            factor = attribute(node, name, 1.0)
            given = node.input[at] if len(node.input) > at else ""
            if factor == 1.0 or given not in known:
                continue
            values = (known[given] * np.float32(factor)).astype(known[given].dtype)
            node.input[at] = add_constant(graph, fresh(known, f"{given}_{name}"), values)
            known[node.input[at]] = values
            for a in [a for a in node.attribute if a.name == name]:
                node.attribute.remove(a)


def resize_as_before(graph: Any, version: int) -> None:
    """Say of each Resize that comes from an operator set before 11 how places were found then, in place.

    onnx.version_converter leaves it to the default of today, which is another.
    """
    from onnx import helper

    for node in graph.node:
        if version < _FIRST_WITH_MODES and node.op_type == "Resize":
            said = {a.name for a in node.attribute}
            for name, value in (("coordinate_transformation_mode", "asymmetric"), ("nearest_mode", "floor")):
                if name not in said:
                    node.attribute.append(helper.make_attribute(name, value))


def plain_axes(graph: Any, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Let each Pad and Resize name all axes, in place: onnxruntime moves those wrong that name a few only."""
    known = constants(graph)

    def spread(node: Any, at: int, axes: Sequence[int], usual: Sequence[Any], parts: int = 1) -> None:
        given = known[node.input[at]]
        full = np.array([usual] * parts, given.dtype)
        full[:, list(axes)] = given.reshape(parts, -1)
        node.input[at] = add_constant(graph, fresh(known, f"{node.input[at]}_all"), full.reshape(-1))
        known[node.input[at]] = full

    for node in graph.node:
        shape = shapes.get(node.input[0]) if node.input else None
        if shape is None:
            continue
        if node.op_type == "Pad" and len(node.input) > 3 and {node.input[1], node.input[3]} <= set(known):
            spread(node, 1, known[node.input[3]].reshape(-1).tolist(), [0] * len(shape), 2)
            del node.input[3:]
        axes = attribute(node, "axes") if node.op_type == "Resize" else None
        plain = attribute(node, "keep_aspect_ratio_policy", b"stretch") == b"stretch" and not any(node.input[1:2])
        if axes and plain and all(name in known for name in node.input[2:] if name):
            for at, usual in ((2, [1] * len(shape)), (3, list(shape))):
                if len(node.input) > at and node.input[at] and known[node.input[at]].size:
                    spread(node, at, axes, usual)
            node.attribute.remove(next(a for a in node.attribute if a.name == "axes"))
