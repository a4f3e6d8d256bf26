"""A network in ONNX: its layers, where it can be cut, and what it gives by its own file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.data.decode import Images
from tlc_edge.compiler.records import Floats, InputSpec
from tlc_edge.runtime.errors import BuildError, first_line
from tlc_edge.runtime.progress import Count, silent
from tlc_edge.runtime.quiet import quiet

from .layers import Listed, Node
from .onnx_begin import IMAGE
from .onnx_graph import attribute, constants, readers, run, session, until
from .onnx_settle import OPSET, ImageInput, free_batch
from .pixels import Pixels

FEATURES = "features"
_CLOSE = 1e-3
"""Of what the file itself gives, the largest relative difference to the trunk that is made of it."""

# What lies at a place in [N, C, H, W] stays there.
_PLACED = frozenset(
    {
        "Conv", "ConvTranspose", "MaxPool", "AveragePool", "LpPool", "GlobalAveragePool", "GlobalMaxPool",
        "BatchNormalization", "InstanceNormalization", "GroupNormalization", "LRN", "DepthToSpace", "SpaceToDepth",
        "GlobalLpPool",
    }
)  # fmt: skip
_TURNS = {("first", (0, 2, 3, 1)): "last", ("last", (0, 3, 1, 2)): "first"}
# They put values elsewhere, or mix places.
_LOSES = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Gather", "GatherND", "Einsum", "Expand", "Tile"})


@dataclass(frozen=True)
class Constants:
    """What a node has of constants."""

    count: int

    def count_params(self) -> int:
        """Return how many numbers they are."""
        return self.count


@dataclass(frozen=True, eq=False)
class OnnxNetwork(Listed):
    """A network that takes `image`, float32 [1, H, W, C], normalised as its backbone's input says."""

    name: str
    model: Any
    """As tlc made it of the file."""
    original: Any
    """As the file has it, for one image of the same size."""
    image: ImageInput
    """What that takes."""
    pixels: Pixels
    """How pixels from 0 to 255 become that."""
    shapes: Mapping[str, tuple[int, ...]]
    """Of each tensor, with the batch of 1."""
    floats: frozenset[str]
    """The tensors of floating-point numbers."""
    spec: InputSpec
    """How `image` is normalised."""
    begin: tuple[str, ...] = ()
    """Names of the file's nodes that became part of the input."""
    idle: Mapping[str, str] = field(default_factory=dict[str, str])
    """Names of those that did nothing, with the tensors that they read."""
    pooled: tuple[str, str | None] = ("none", None)
    """Of a trunk: how it is pooled, and where the channels of its feature map are."""

    @cached_property
    def places(self) -> dict[str, str]:
        """Which tensors are feature maps: `first` for [N, C, H, W], `last` for [N, H, W, C]."""
        found = {IMAGE: "last"}
        for node in self.model.graph.node:
            before = next((found[name] for name in node.input if name in found), None)
            place = _place(node, before)
            if place is not None:
                # What tlc put before the first layer is not among the shapes; it is an image all the same.
                found.update((t, place) for t in node.output if len(self.shapes.get(t, (0,) * 4)) == 4)
        return found

    def nodes(self) -> list[Node]:
        """Return the layers; each may be named in `--shave`."""
        graph = self.model.graph
        known, by_tensor = constants(graph), readers(graph)
        listed = [node for node in graph.node if node.output[0] in self.shapes]
        names = {t: node.name for node in listed for t in node.output}
        size = self.image
        found = [Node(IMAGE, Constants(0), (), (size.height, size.width, size.channels), (), 1, "Input", 0)]
        for node in listed:
            feeds = dict.fromkeys(names.get(t, IMAGE) for t in node.input if t and t not in known)
            used = [t for t in node.output if t in by_tensor]
            shape, reason = self._shape(node.output[0])
            found.append(
                Node(
                    name=node.name,
                    layer=Constants(
                        sum(known[t].size for t in node.input if t in known and known[t].dtype == np.float32)
                    ),
                    inputs=tuple(feeds),
                    shape=() if set(used) - {node.output[0]} else shape,
                    readers=tuple(r.name for r in by_tensor.get(node.output[0], ()) if r.output[0] in names),
                    uses=1,
                    operation=node.op_type,
                    macs=self._macs(node, known),
                    no_cut=reason,
                )
            )
        return found

    def _shape(self, tensor: str) -> tuple[tuple[int, ...], str | None]:
        """Return the shape of one image's output, with the channels last, and why it is of no use as features."""
        batch, *shape = self.shapes[tensor] or (0,)
        place = self.places.get(tensor)
        if tensor not in self.floats:
            return tuple(shape), "it gives no floating-point numbers"
        if batch != 1:
            return tuple(shape), f"its output, {list(self.shapes[tensor])}, has no axis for the images"
        if len(shape) == 3 and place is None:
            return tuple(shape), f"it gives {shape} an image, which is no feature map: places were moved or mixed"
        if len(shape) == 3 and place == "first":
            shape = [shape[1], shape[2], shape[0]]
        return tuple(shape), None

    def _macs(self, node: Any, known: Mapping[str, NDArray[Any]]) -> int | None:
        gives = math.prod(self.shapes[node.output[0]])
        weight = known.get(node.input[1]) if len(node.input) > 1 else None
        if node.op_type == "Einsum":
            return None
        if node.op_type == "Conv" and weight is not None:
            return gives * math.prod(weight.shape[1:])
        if node.op_type == "ConvTranspose" and weight is not None:
            # What tlc put before the first layer is not among the shapes, and as large as the image.
            places = self.shapes.get(node.input[0], (1, 1, self.image.height, self.image.width))[2:]
            return math.prod(places) * int(weight.size)
        if node.op_type == "Gemm" and weight is not None:
            return int(weight.size)
        if node.op_type == "MatMul":
            if weight is not None and weight.ndim > 1:
                return gives * int(np.asarray(weight.shape)[-2])
            first = self.shapes.get(node.input[0])
            return None if first is None else gives * first[-1]
        return 0

    def get_weights(self) -> list[NDArray[Any]]:
        """Return its constants, in the file's order."""
        return list(constants(self.model.graph).values())

    def tensor(self, name: str) -> str:
        """Return what a layer gives."""
        return str(next(node.output[0] for node in self.model.graph.node if node.name == name))

    def cut(self, name: str, pool: str) -> OnnxNetwork:
        """Return the network up to a layer, pooled by `avg`, `max`, `flatten` or `none` to the one output `features`.

        Raises:
            BuildError: it does not give what the file itself does.
        """
        tensor = self.tensor(name)
        model = until(self.model, [tensor])
        _pool(model, tensor, self.places.get(tensor), pool)
        cut = replace(
            self, model=model, original=until(self.original, [tensor]), pooled=(pool, self.places.get(tensor))
        )
        size = self.image
        probes = np.random.default_rng(1).integers(0, 256, (2, size.height, size.width, size.channels), np.uint8)
        wanted = cut.features(probes)
        try:
            alone = np.concatenate([cut.run(image[None]) for image in probes])
        except Exception as e:  # onnxruntime's errors share no base
            raise BuildError(
                f"{self.name}: no trunk can be made of it up to {name} ({first_line(e)}); cut somewhere else, or "
                f"export it in operator set {OPSET}"
            ) from None
        worst = difference(wanted, alone)
        if not worst <= _CLOSE:
            raise BuildError(
                f"{self.name}: the trunk made of it differs from what the file itself gives at {name}, by {worst:.1e} "
                f"of its largest value; cut somewhere else, or export it in operator set {OPSET}"
            )
        several = replace(cut, model=free_batch(model))
        try:
            fits = difference(alone, several.run(probes)) <= _CLOSE
        except Exception:  # onnxruntime's errors share no base: it takes one image and no more
            fits = False
        return several if fits else cut

    def run(self, images: NDArray[np.uint8]) -> Floats:
        """Return what the trunk gives for images [N, H, W, C], [N, F]."""
        image = (images.astype(np.float32) - np.float32(self.spec.mean)) * np.float32(1 / self.spec.std)
        return np.asarray(run(self.model, {IMAGE: image})[0], np.float32)

    def features(self, images: Images, progress: Count = silent) -> Floats:
        """Return what the file itself gives for images [N, H, W, C], pooled outside of it, [N, F]."""
        pool, place = self.pooled
        opened = self._session
        found: list[Floats] = []
        for i, image in enumerate(images):
            turned = image[:, :, ::-1] if self.pixels.bgr and image.shape[2] > 1 else image
            given = turned * np.asarray(self.pixels.scale) + np.asarray(self.pixels.offset)
            with quiet():
                (value,) = opened.run(None, {self.image.name: self.image.given(given)})
            found.append(_pooled(np.asarray(value, np.float32), place, pool))
            progress(i + 1, len(images))
        return np.concatenate(found)

    @cached_property
    def _session(self) -> Any:
        return session(self.original)


def difference(wanted: Floats, found: Floats) -> float:
    """Return the largest difference as a share of the largest value that is wanted; infinite where shapes differ."""
    if wanted.shape != found.shape:
        return math.inf
    largest = float(np.abs(wanted).max(initial=0.0))
    return float(np.abs(wanted - found).max(initial=0.0)) / max(largest, 1e-6)


def _place(node: Any, before: str | None) -> str | None:
    kind = node.op_type
    if kind in _PLACED:
        return "first"
    if kind == "Transpose" and before is not None:
        return _TURNS.get((before, tuple(attribute(node, "perm", ()))))
    if kind in _LOSES or (kind.startswith(("Reduce", "Arg")) and not attribute(node, "keepdims", 1)):
        return None
    if kind in ("MatMul", "Gemm"):
        return "last" if before == "last" else None
    return before


def _pool(model: Any, tensor: str, place: str | None, pool: str) -> None:
    """Put the pooling behind a tensor, in place; what it gives is `features`."""
    from onnx import TensorProto, helper

    nodes: list[Any] = []

    def then(kind: str, source: str, name: str, **given: Any) -> str:
        nodes.append(helper.make_node(kind, [source], [name], name=name, **given))
        return name

    if pool == "none":
        then("Identity", tensor, FEATURES)
    else:
        last = tensor if place == "first" else then("Transpose", tensor, f"{FEATURES}_turned", perm=[0, 3, 1, 2])
        if pool != "flatten":
            last = then({"avg": "GlobalAveragePool", "max": "GlobalMaxPool"}[pool], last, f"{FEATURES}_pooled")
        then("Flatten", last, FEATURES, axis=1)
    model.graph.node.extend(nodes)
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info(FEATURES, TensorProto.FLOAT, [1, None]))


def _pooled(value: Floats, place: str | None, pool: str) -> Floats:
    """Return a file's own output for one image as `_pool` would have it."""
    if pool == "none":
        return value
    first = value if place == "first" else value.transpose(0, 3, 1, 2)
    if pool == "flatten":
        return first.reshape(1, -1)
    return np.asarray(first.mean((2, 3)) if pool == "avg" else first.max((2, 3)), np.float32)
