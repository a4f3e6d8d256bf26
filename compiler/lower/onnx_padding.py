"""Padding where it costs least: in the convolution itself, or on whole channels."""

from __future__ import annotations

from typing import Any

import numpy as np


def fold_padding(graph: Any) -> None:
    """Take each node that pads with zeros around images [N, C, H, W] into the convolutions that alone read it.

    It is a node less, and one that int8 would leave in float32 between two conversions.
    """
    from onnx import numpy_helper

    constants = {c.name: c for c in graph.initializer}
    outputs = {output.name for output in graph.output}
    for pad in [node for node in graph.node if node.op_type == "Pad"]:
        readers = [node for node in graph.node if pad.output[0] in node.input]
        if pad.output[0] in outputs or not all(_takes_padding(node, pad.output[0]) for node in readers):
            continue
        given = [constants.get(name) for name in pad.input[1:] if name]
        arrays = [numpy_helper.to_array(c) for c in given if c is not None]
        mode = next((a.s for a in pad.attribute if a.name == "mode"), b"constant")
        if len(arrays) != len(given) or mode != b"constant" or any(np.any(a) for a in arrays[1:]):
            continue
        if len(arrays[0]) != 8 or np.any(arrays[0] < 0) or np.any(arrays[0][[0, 1, 4, 5]]):
            continue
        for conv in readers:
            _add(conv, arrays[0][[2, 3, 6, 7]])
            conv.input[0] = pad.input[0]
        graph.node.remove(pad)
    _drop_unread(graph)


def pad_after_transpose(graph: Any) -> None:
    """Let a node that pads, and is only transposed after, pad what is transposed already.

    So a channel is added to [N, C, H, W] in one piece, where in [N, H, W, C] each pixel is copied by itself: a third
    of what the first convolution takes.
    """
    from onnx import numpy_helper

    constants = {c.name: c for c in graph.initializer}
    for at, pad in enumerate(list(graph.node)):
        readers = [node for node in graph.node if pad.op_type == "Pad" and pad.output[0] in node.input]
        if [node.op_type for node in readers] != ["Transpose"] or len(pad.input) > 3 or pad.input[1] not in constants:
            continue
        (transpose,) = readers
        order = list(next(a.ints for a in transpose.attribute if a.name == "perm"))
        pads = numpy_helper.to_array(constants[pad.input[1]]).reshape(2, -1)[:, order]
        moved = numpy_helper.from_array(np.ascontiguousarray(pads.reshape(-1)), f"{pad.output[0]}_moved")
        graph.initializer.append(moved)
        transpose.input[0], pad.input[0], pad.input[1] = pad.input[0], pad.output[0], moved.name
        transpose.output[0], pad.output[0] = pad.output[0], transpose.output[0]
        # Nodes stand in the order in which they run.
        graph.node.remove(transpose)
        graph.node.insert(at, transpose)
    _drop_unread(graph)


def extend_transposed(graph: Any) -> None:
    """Say the further rows and columns of transposed convolutions as ONNX does, in place.

    With a stride larger than the kernel TensorFlow gives places that no kernel reaches, and the converter writes a
    padding below zero for them, which no engine reads.
    """
    from onnx import helper

    for node in graph.node:
        pads = next((list(a.ints) for a in node.attribute if a.name == "pads"), [])
        if node.op_type != "ConvTranspose" or not any(n < 0 for n in pads[2:]) or any(n < 0 for n in pads[:2]):
            continue
        more = next((list(a.ints) for a in node.attribute if a.name == "output_padding"), [0, 0])
        for attribute in [a for a in node.attribute if a.name in ("pads", "output_padding")]:
            node.attribute.remove(attribute)
        node.attribute.append(helper.make_attribute("pads", [*pads[:2], *(max(n, 0) for n in pads[2:])]))
        further = [n + max(-p, 0) for n, p in zip(more, pads[2:], strict=True)]
        node.attribute.append(helper.make_attribute("output_padding", further))


def _takes_padding(node: Any, name: str) -> bool:
    how = next((a.s for a in node.attribute if a.name == "auto_pad"), b"NOTSET")
    return node.op_type == "Conv" and node.input[0] == name and how in (b"NOTSET", b"VALID")


def _add(conv: Any, pads: Any) -> None:
    """Add rows and columns [top, left, bottom, right] to those that a convolution pads already."""
    from onnx import helper

    own = next((list(a.ints) for a in conv.attribute if a.name == "pads"), [0] * 4)
    for attribute in [a for a in conv.attribute if a.name in ("pads", "auto_pad")]:
        conv.attribute.remove(attribute)
    conv.attribute.append(helper.make_attribute("pads", [int(a + b) for a, b in zip(own, pads, strict=True)]))


def _drop_unread(graph: Any) -> None:
    read = {name for node in graph.node for name in node.input}
    for constant in [c for c in graph.initializer if c.name not in read]:
        graph.initializer.remove(constant)
