"""The begin of an ONNX network: arithmetic on its pixels goes into the input, and images come as files have them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.records import InputSpec

from .arithmetic import Map
from .normalise import NAME, presence, take_in
from .onnx_graph import add_constant, attribute, constants, drop_unread, fresh, readers, set_input
from .onnx_settle import ImageInput
from .pixels import Pixels, input_spec

IMAGE = "image"
_TO_FIRST, _TO_LAST = [0, 3, 1, 2], [0, 2, 3, 1]
_FLOAT = 1  # TensorProto.FLOAT


@dataclass(frozen=True, eq=False)
class Begin:
    """What stands before the first layer: arithmetic by constants, casts and transpositions, and nothing else."""

    map: Map
    """What it makes of the image's channels."""
    tensor: str
    """What it gives."""
    channels_first: bool
    """How the image lies there."""
    floating: bool
    """Whether it is floating-point by then."""
    nodes: tuple[str, ...] = ()
    """Names of its nodes."""


def start_of(image: ImageInput) -> Begin:
    """Return the image itself."""
    return Begin(Map.identity(image.channels), image.name, image.channels_first, not image.pixels)


def find_begin(graph: Any, image: ImageInput) -> Begin:
    """Follow the image as far as it is only that."""
    known, by_tensor = constants(graph), readers(graph)
    ends = {o.name for o in graph.output}
    here = start_of(image)
    while here.tensor not in ends and len(by_tensor.get(here.tensor, ())) == 1:
        (node,) = by_tensor[here.tensor]
        after = _through(node, here, known)
        if after is None:
            break
        here = replace(after, tensor=node.output[0], nodes=(*here.nodes, node.name))
    return here


def _through(node: Any, here: Begin, known: Mapping[str, NDArray[Any]]) -> Begin | None:
    kind = node.op_type
    if kind in ("Identity", "Dropout"):
        return here
    if kind == "Cast":
        return replace(here, floating=True) if attribute(node, "to") == _FLOAT else None
    if kind == "Transpose":
        turned = _TO_LAST if here.channels_first else _TO_FIRST
        fits = list(attribute(node, "perm", ())) == turned
        return replace(here, channels_first=not here.channels_first) if fits else None
    if not here.floating:  # whole numbers wrap around
        return None
    made = _arithmetic(node, here, known)
    return None if made is None else replace(here, map=made)


def _arithmetic(node: Any, here: Begin, known: Mapping[str, NDArray[Any]]) -> Map | None:
    kind, axis = node.op_type, 1 if here.channels_first else 3
    given = [known.get(name) for name in node.input]
    if kind == "Neg":
        return here.map.scaled(np.asarray(-1.0), np.asarray(0.0))
    if kind in ("Add", "Sub", "Mul", "Div"):
        first = given[0] is None
        values = _by_channel(given[1 if first else 0], len(here.map.offset), axis)
        return None if values is None else _with(kind, here.map, values, first=first)
    if kind == "BatchNormalization" and axis == 1 and not any(v is None for v in given[1:5]):
        scale, bias, mean, variance = (np.asarray(v, np.float64) for v in given[1:5])
        factor = scale / np.sqrt(variance + attribute(node, "epsilon", 1e-5))
        return here.map.scaled(factor, bias - mean * factor)
    if kind == "Gather" and given[1] is not None and attribute(node, "axis", 0) in (axis, axis - 4):
        return here.map.picked(given[1]) if given[1].ndim == 1 and len(given[1]) == len(here.map.offset) else None
    if kind == "Slice" and len(given) == 5 and not any(v is None for v in given[1:]):
        start, stop, axes, step = (np.asarray(v).ravel().tolist() for v in given[1:])
        count = len(here.map.offset)
        turned = step == [-1] and start[0] in (-1, count - 1) and stop[0] < -count
        return here.map.picked(slice(None, None, -1)) if turned and axes in ([axis], [axis - 4]) else None
    return None


def _by_channel(values: NDArray[Any] | None, channels: int, axis: int) -> NDArray[np.float64] | None:
    """Return a constant as one number or one for each channel; None where it differs from place to place."""
    if values is None or values.ndim > 4:
        return None
    shape = (1,) * (4 - values.ndim) + values.shape
    if values.size == 1 or (values.size == channels == shape[axis]):
        return np.asarray(values, np.float64).ravel()
    return None


def _with(kind: str, given: Map, values: NDArray[np.float64], *, first: bool) -> Map | None:
    nothing, one = np.asarray(0.0), np.asarray(1.0)
    if kind == "Add":
        return given.scaled(one, values)
    if kind == "Sub":
        return given.scaled(one, -values) if first else given.scaled(-one, values)
    if kind == "Mul":
        return given.scaled(values, nothing)
    return given.scaled(1 / values, nothing) if first and values.all() else None


def take_images(model: Any, begin: Begin, pixels: Pixels, image: ImageInput) -> tuple[Any, InputSpec]:
    """Return a copy of a model that takes `image`, float32 [1, H, W, C] normalised as the spec says; and the spec.

    `pixels` says how pixels from 0 to 255 become what the model takes. What is no scalar of all channels goes into the
    first convolution, or becomes one of its own; see `normalise`.
    """
    whole = begin.map.after(pixels)
    separate = whole is None
    if whole is None:  # channels are mixed: the nodes stay as they are
        begin, whole = start_of(image), pixels
    copy: Any = type(model)()
    copy.CopyFrom(model)
    graph = copy.graph
    spec, rest = input_spec(whole, image.height, image.width, image.channels)
    reading = readers(graph).get(begin.tensor, [])
    front = _Front(graph)
    conv = reading[0] if len(reading) == 1 and begin.channels_first and _takes_in(graph, reading[0], begin) else None
    value = None if conv is None or rest is None or not _pads(conv) else presence(rest, spec)
    if rest is not None and conv is not None and (value is not None or not _pads(conv)):
        tensor = front.transpose(IMAGE, _TO_FIRST)
        tensor = tensor if value is None else front.widen(tensor, value)
        _into(graph, conv, rest, value)
    elif rest is not None or separate:
        ones = Pixels((1.0,), (0.0,))
        tensor = front.normalise(front.transpose(IMAGE, _TO_FIRST), rest or ones, image.channels)
        tensor = tensor if begin.channels_first else front.transpose(tensor, _TO_LAST)
    else:
        tensor = front.transpose(IMAGE, _TO_FIRST) if begin.channels_first else IMAGE
    if not begin.floating:
        tensor = front.whole_numbers(tensor)
    for node in reading:
        node.input[:] = [tensor if name == begin.tensor else name for name in node.input]
    for node in [n for n in graph.node if n.name in begin.nodes]:
        graph.node.remove(node)
    front.put()
    set_input(graph.input[0], IMAGE, (1, image.height, image.width, image.channels), _FLOAT)
    drop_unread(graph)
    return copy, spec


def _takes_in(graph: Any, node: Any, begin: Begin) -> bool:
    known = {i.name for i in graph.initializer}
    plain = node.op_type == "Conv" and node.input[0] == begin.tensor and set(node.input[1:]) <= known
    return plain and attribute(node, "group", 1) == 1


def _pads(conv: Any) -> bool:
    how = attribute(conv, "auto_pad", b"NOTSET")
    return any(attribute(conv, "pads", ())) if how in (b"NOTSET", b"") else how != b"VALID"


def _into(graph: Any, conv: Any, rest: Pixels, value: float | None) -> None:
    known = constants(graph)
    kernel = known[conv.input[1]].transpose(2, 3, 1, 0)
    bias = known[conv.input[2]] if len(conv.input) > 2 else np.zeros(kernel.shape[3])
    kernel, bias = take_in(kernel, bias, rest, value)
    taken = set(known)
    names = [fresh(taken, f"{conv.name}_{part}") for part in ("kernel", "bias")]
    add_constant(graph, names[0], kernel.transpose(3, 2, 0, 1))
    add_constant(graph, names[1], bias)
    conv.input[1:] = names


class _Front:
    """Nodes before all others."""

    def __init__(self, graph: Any) -> None:
        self._graph, self._nodes = graph, list[Any]()
        self._taken = {n for node in graph.node for n in (node.name, *node.input, *node.output)} | {IMAGE}

    def _add(self, kind: str, inputs: list[str], name: str, **given: Any) -> str:
        from onnx import helper

        name = fresh(self._taken, name)
        self._taken.add(name)
        self._nodes.append(helper.make_node(kind, inputs, [name], name=name, **given))
        return name

    def _constant(self, name: str, values: NDArray[Any]) -> str:
        name = fresh(self._taken, name)
        self._taken.add(name)
        return add_constant(self._graph, name, values)

    def transpose(self, tensor: str, order: list[int]) -> str:
        return self._add("Transpose", [tensor], f"{IMAGE}_turned", perm=order)

    def widen(self, tensor: str, value: float) -> str:
        pads = self._constant(f"{NAME}_pads", np.array([0, 0, 0, 0, 0, 1, 0, 0], np.int64))
        return self._add("Pad", [tensor, pads, self._constant(f"{NAME}_value", np.asarray(value, np.float32))], NAME)

    def normalise(self, tensor: str, rest: Pixels, channels: int) -> str:
        scale = np.broadcast_to(np.asarray(rest.scale), channels)
        offset = np.broadcast_to(np.asarray(rest.offset), channels).astype(np.float32)
        # Blue first: output c reads input channels - 1 - c.
        kernel = np.diag(scale)[:, ::-1] if rest.bgr else scale.reshape(channels, 1)
        weights = kernel.reshape(channels, -1, 1, 1).astype(np.float32)
        names = [self._constant(f"{NAME}_kernel", weights), self._constant(f"{NAME}_bias", offset)]
        return self._add("Conv", [tensor, *names], NAME, group=1 if rest.bgr else channels)

    def whole_numbers(self, tensor: str) -> str:
        return self._add("Cast", [tensor], f"{IMAGE}_whole", to=2)

    def put(self) -> None:
        for node in reversed(self._nodes):
            self._graph.node.insert(0, node)
