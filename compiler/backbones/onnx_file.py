"""A network in an ONNX file, as PyTorch, timm and Hugging Face export them; no TensorFlow is loaded for it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tlc_edge.compiler.network.layers import Node
from tlc_edge.compiler.network.onnx_begin import IMAGE, Begin, find_begin, take_images
from tlc_edge.compiler.network.onnx_graph import attribute, constants, until
from tlc_edge.compiler.network.onnx_network import OnnxNetwork
from tlc_edge.compiler.network.onnx_settle import ImageInput, settle
from tlc_edge.compiler.network.pixels import PIXELS
from tlc_edge.compiler.options import Asked
from tlc_edge.compiler.records import Backbone, Classifier, Floats, Provenance
from tlc_edge.compiler.weights.onnx_file import read_onnx, size_with_parts
from tlc_edge.compiler.weights.rehearse import rehearse
from tlc_edge.runtime.errors import BuildError

from .adopt import USUAL_SIZE, normalises
from .refuse import refuse
from .shave import cannot_cut

_REHEARSED = "tlc_edge.compiler.backbones.rehearse_onnx"
_EACH_PIXEL = 2_000
"""Bytes that a network's layers may give together for each pixel, an eighth of it: `rehearse` allows eight times."""
_LARGE = (512, 512)
"""The image that is reckoned with where only the file tells its size."""
FORMATS = ("onnx",)
"""Of the model files that can be made of it."""

_SHAPING = frozenset({"Flatten", "Reshape", "Squeeze", "Unsqueeze", "Identity", "Cast", "Dropout", "Transpose"})
_PROBABILITIES = frozenset({"Softmax", "LogSoftmax", "Sigmoid"})
_POOLS = {"GlobalAveragePool": "avg", "ReduceMean": "avg", "AveragePool": "avg", "GlobalMaxPool": "max"}
_MULTIPLYING = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "Einsum"})
_FEW = 3
"""Layers that multiply between a feature map and the classifier: with more, it does not read the map."""


def claims(name: str) -> bool:
    """Return whether there is a file with the name of an ONNX network."""
    path = Path(name)
    return path.is_file() and path.suffix.lower() == ".onnx"


def check(name: str, asked: Asked) -> None:
    """Refuse what a file brings along.

    Raises:
        UsageError: an option is not for it.
    """
    refuse(name, asked, takes=("pixels",))


def reads(_name: str, _asked: Asked) -> list[Path] | None:
    """Return None: it is loaded in no time."""
    return None


def load(name: str, asked: Asked) -> Backbone:
    """Load the network; it is done in a confined process first (`rehearse`).

    Raises:
        BuildError: the file is damaged or has what is no part of a plain network on one image; or it is not known what
            pixels it takes.
    """
    request = {"where": name, "input_size": asked.input_size, "pixels": asked.pixels}
    height, width = asked.input_size or _LARGE
    rehearse(_REHEARSED, request, name, size_with_parts(Path(name)) + _EACH_PIXEL * height * width)
    return read_network(name, asked)


def read_network(name: str, asked: Asked) -> Backbone:
    """Do what `load` does, in this process.

    Raises:
        BuildError: as `load`.
    """
    path = Path(name)
    model, digest = read_onnx(path)
    image, notes = image_input(path.name, model, asked)
    settled = settle(path.name, model, image)
    begin = find_begin(settled.model.graph, image)
    pixels = PIXELS[_trained_on(path.name, begin, image, asked)]
    taken, spec = take_images(settled.model, begin, pixels, image)
    network = OnnxNetwork(
        name=path.stem,
        model=taken,
        original=settled.original,
        image=image,
        pixels=pixels,
        shapes=settled.shapes,
        floats=settled.floats,
        spec=spec,
        begin=begin.nodes,
        idle=settled.idle,
    )
    return _adopt(path, network, digest, notes)


def image_input(name: str, model: Any, asked: Asked) -> tuple[ImageInput, list[str]]:
    """Return the one image that a model takes, and what had to be assumed.

    Raises:
        BuildError: it takes something else.
    """
    from onnx import TensorProto

    constant = {i.name for i in model.graph.initializer}
    inputs = [i for i in model.graph.input if i.name not in constant]
    told = ", ".join(f"{i.name} {_told(i)}" for i in inputs)
    if len(inputs) != 1:
        raise BuildError(f"{name} takes {len(inputs)} inputs ({told}), expected one image")
    kind, dims = inputs[0].type.tensor_type.elem_type, inputs[0].type.tensor_type.shape.dim
    if kind not in (TensorProto.FLOAT, TensorProto.UINT8) or len(dims) != 4:
        raise BuildError(
            f"{name} takes {told}, expected one image, [N, 3, height, width] or [N, height, width, 3] of floats"
        )
    shape = [int(d.dim_value) or None for d in dims]
    first, last = shape[1] in (1, 3), shape[3] in (1, 3)
    if not first and not last and None not in (shape[1], shape[3]):
        raise BuildError(f"{name} takes {told}, expected one image with 1 or 3 channels")
    if first == last:
        raise BuildError(
            f"{name} takes {told}, so which axis has the channels is not known; export it with the size of its image"
        )
    size = shape[2:] if first else shape[1:3]
    notes: list[str] = []
    height, width = asked.input_size or (size[0] or USUAL_SIZE[0], size[1] or USUAL_SIZE[1])
    if None in size and asked.input_size is None:
        notes.append(f"{name} leaves its input's size open; {height}x{width} was taken (--input-size)")
    channels = shape[1] if first else shape[3]
    return ImageInput(inputs[0].name, height, width, channels or 3, first, kind == TensorProto.UINT8), notes


def _told(value: Any) -> str:
    from onnx import TensorProto

    kind = value.type.tensor_type
    if not value.type.HasField("tensor_type"):
        return "(no tensor)"
    dims = ", ".join(d.dim_param or str(d.dim_value or "?") for d in kind.shape.dim)
    return f"{TensorProto.DataType.Name(kind.elem_type).lower()} [{dims}]"


def _trained_on(name: str, begin: Begin, image: ImageInput, asked: Asked) -> str:
    """Return which pixels a network takes, one of `PIXELS`.

    Raises:
        BuildError: neither the file nor the user says so.
    """
    if image.pixels and asked.pixels not in (None, "0..255"):
        raise BuildError(f"--pixels {asked.pixels}: {name} takes uint8, so pixels from 0 to 255; leave it out")
    if image.pixels or (asked.pixels is None and not begin.map.idle and normalises(begin.map)):
        return "0..255"
    if asked.pixels is None:
        raise BuildError(
            f"{name} does not say what pixels it takes; say --pixels: imagenet for torchvision and most of timm, -1..1 "
            "where mean and deviation are 0.5 (timm's model.default_cfg has them), 0..1, 0..255, clip or caffe"
        )
    return asked.pixels


@dataclass(frozen=True, eq=False)
class _End:
    """The classifier that came with a network."""

    first: Node
    """Its first node: it reads the features."""
    kernel: Floats
    """[features, classes]"""
    bias: Floats
    """[classes]"""
    probable: bool
    """Probabilities are made of what it gives."""


def _adopt(path: Path, network: OnnxNetwork, digest: str, notes: Sequence[str]) -> Backbone:
    rows = network.nodes()
    if len(rows) < 2:
        raise BuildError(f"{path.name} has no layer but what normalises its image")
    ends = [o.name for o in network.model.graph.output]
    makers = {t: node.name for node in network.model.graph.node for t in node.output}
    by_name = {r.name: r for r in rows}
    end = _classifier(network, rows) if len(ends) == 1 else None
    last = by_name[makers[ends[0]]] if end is None else by_name[end.first.inputs[0]]
    features, reason = _features(rows, last, end)
    if end is not None and end.probable:
        network = _shortened(network, last)
    names = {n.name for n in network.nodes()}
    several = (
        [
            f"{path.name} has {len(ends)} outputs ({', '.join(ends)}); {features.name} leads to {ends[0]}, "
            "or name another --shave"
        ]
        if len(ends) > 1
        else []
    )
    return Backbone(
        name=path.stem,
        model=network,
        input=network.spec,
        provenance=Provenance(path.name, digest, "unknown", "unknown"),
        default_shave=features.name,
        classifier=None if end is None else _read(network, rows, end, features),
        default_reason=reason,
        removed=tuple(r.name for r in rows if r.name not in names),
        merged=_merged(network),
        notes=(*notes, *several),
    )


def _merged(network: OnnxNetwork) -> dict[str, str]:
    """Return by the names of the file's nodes that are gone the layers that give what they gave."""
    layers = {n.output[0]: n.name for n in network.model.graph.node if n.output[0] in network.shapes}
    gone = {name: layers.get(tensor, IMAGE) for name, tensor in network.idle.items()}
    return {**dict.fromkeys(network.begin, IMAGE), **gone}


def _shortened(network: OnnxNetwork, last: Node) -> OnnxNetwork:
    tensor = network.tensor(last.name)
    return replace(network, model=until(network.model, [tensor]), original=until(network.original, [tensor]))


def _classifier(network: OnnxNetwork, rows: Sequence[Node]) -> _End | None:
    """Return the last layer if it is one that maps a vector to scores, or places to scores that are averaged."""
    by_name, graph = {r.name: r for r in rows}, network.model.graph
    makers = {t: n.name for n in graph.node for t in n.output}
    node, probable, averaged = by_name[makers[graph.output[0].name]], False, False
    while len(node.inputs) == 1 and node.kind in _SHAPING | _PROBABILITIES | {*_POOLS, "Relu"}:
        before = by_name[node.inputs[0]]
        pooled = node.kind in _POOLS and len(before.shape) == 3 and math.prod(before.shape[:2]) > 1
        if node.kind in ("Relu", *_POOLS) and not (pooled or (averaged and node.kind == "Relu")):
            break
        probable, averaged, node = probable or node.kind in _PROBABILITIES, averaged or pooled, before
    found = _weights(network, node, by_name)
    if found is None:
        return None
    first, kernel, bias = found
    places = math.prod(by_name[first.inputs[0]].shape[:-1])
    # A convolution that is averaged, and no more, gives features; and so does a dense layer of each place.
    fits = (first.kind == "Conv" and probable) if averaged else places == 1
    return _End(first, kernel, bias, probable) if fits else None


def _weights(network: OnnxNetwork, node: Node, by_name: dict[str, Node]) -> tuple[Node, Floats, Floats] | None:
    """Return the first node of a linear map, its kernel [I, O] and its bias [O]; None where it is none."""
    known = constants(network.model.graph)
    steps = {n.name: n for n in network.model.graph.node}
    if len(node.inputs) != 1:
        return None
    step, bias = steps[node.name], None
    if node.kind == "Add":
        bias = next((known[t] for t in step.input if t in known), None)
        node = by_name[node.inputs[0]]
        if bias is None or node.kind != "MatMul" or len(node.inputs) != 1:
            return None
        step = steps[node.name]
    weight = known.get(step.input[1]) if len(step.input) > 1 else None
    if weight is None:
        return None
    if node.kind == "Conv" and attribute(step, "group", 1) == 1 and weight.shape[2:] == (1, 1):
        kernel = weight[:, :, 0, 0].T
    elif node.kind == "Gemm" and weight.ndim == 2:
        kernel = weight.T if attribute(step, "transB", 0) else weight
    elif node.kind == "MatMul" and weight.ndim == 2:
        kernel = weight
    else:
        return None
    if bias is None and node.kind != "MatMul" and len(step.input) > 2:
        bias = known.get(step.input[2])
    flat = np.zeros(kernel.shape[1], np.float32) if bias is None else np.asarray(bias, np.float32).ravel()
    flat = np.broadcast_to(flat, kernel.shape[1]) if flat.size == 1 else flat
    return (node, np.ascontiguousarray(kernel, np.float32), flat) if flat.size == kernel.shape[1] else None


def _ancestors(rows: Sequence[Node], last: Node) -> set[str]:
    """Return the names of a layer and of all that lead to it."""
    by_name = {r.name: r for r in rows}
    found, open_ = {last.name}, [last]
    while open_:
        for name in open_.pop().inputs:
            if name not in found:
                found.add(name)
                open_.append(by_name[name])
    return found


def _features(rows: Sequence[Node], last: Node, end: _End | None) -> tuple[Node, str]:
    """Return where to cut by default, and why: the last feature map that leads to `last`, or that itself."""
    leading = _ancestors(rows, last)
    maps = [
        r
        for r in rows[1:]
        if r.name in leading
        and len(r.shape) == 3
        and math.prod(r.shape[:2]) > 1
        and cannot_cut(r, rows[0].name) is None
    ]
    before = "" if end is None else f" before the classifier, {end.first.name}"
    if maps:
        rest = leading - _ancestors(rows, maps[-1])
        near = sum(r.kind in _MULTIPLYING for r in rows if r.name in rest) <= _FEW
        if near or cannot_cut(last, rows[0].name) is not None:
            return maps[-1], f"its last feature map{before}"
        return last, f"its last output{before}: too much comes after its last feature map"
    return last, f"its last output{before}: it has no feature map to cut at"


def _read(network: OnnxNetwork, rows: Sequence[Node], end: _End, features: Node) -> Classifier | None:
    """Return the classifier's weights, if all that stands between it and the features is a pooling."""
    by_name = {r.name: r for r in rows}
    node, pool = by_name[end.first.inputs[0]], None
    while node.name != features.name:
        if len(node.inputs) != 1:
            return None
        before = by_name[node.inputs[0]]
        places = math.prod(before.shape[:2]) if len(before.shape) == 3 else 1
        if pool is None and node.kind in _POOLS and places > 1 and math.prod(node.shape[:-1]) == 1:
            pool = _POOLS[node.kind]
        elif places > 1 and len(node.shape) == 1 and network.places.get(network.tensor(before.name)) == "first":
            pool = "flatten" if node.kind in ("Flatten", "Reshape") and pool is None else None
            if pool is None:
                return None
        elif node.kind not in _SHAPING or places > 1:
            return None
        node = before
    if pool is None and len(features.shape) == 1:
        pool = "none"
    return None if pool is None else Classifier(end.kernel, end.bias, pool)
