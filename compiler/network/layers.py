"""A flat Keras network as a list of its layers: who feeds whom, what each gives, what each costs."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from tlc_edge.runtime.errors import BuildError


@dataclass(frozen=True, eq=False)
class Node:
    """One use of a layer in a network."""

    name: str
    layer: Any
    inputs: tuple[str, ...]
    """Names of the layers it reads, in order."""
    shape: tuple[int, ...]
    """Of its output, without the batch; empty where it has several outputs."""
    readers: tuple[str, ...]
    """Names of the layers that read its output."""
    uses: int
    """How often the network uses the layer: a shared one has several outputs."""
    operation: str | None = None
    """What it is, where that is not the layer's class."""
    macs: int | None = None
    """Multiply-accumulates for one image, where the network itself counts them."""
    no_cut: str | None = None
    """Why the network cannot be cut here, where nothing else shows it."""

    @property
    def kind(self) -> str:
        """The layer's class, or what it is."""
        return self.operation or type(self.layer).__name__


class Listed(ABC):
    """A network that is not Keras' and lists its layers itself."""

    @abstractmethod
    def nodes(self) -> list[Node]:
        """Return its layers in the order in which they run; the first is the image."""

    @abstractmethod
    def get_weights(self) -> list[NDArray[Any]]:
        """Return its constants."""


def functional(model: Any) -> Any:
    """Return a model's graph; a Sequential has one inside.

    Raises:
        BuildError: a Sequential that was never told its input's shape.
    """
    from keras import Sequential

    if isinstance(model, Sequential):
        graph = getattr(model, "_functional", None)
        if graph is None:
            raise BuildError(f"the network {model.name} does not say its input's shape; begin it with an Input layer")
        return graph
    return model


def nodes(model: Any) -> list[Node]:
    """Return the layers of a flat functional model, or of a network that lists them, in the order in which they run."""
    if isinstance(model, Listed):
        return model.nodes()
    # Operations, not layers: a bare `x + y` between layers is a step too.
    feeds: dict[str, list[str]] = {step.name: [] for step in model.operations}
    uses: dict[str, int] = dict.fromkeys(feeds, 0)
    readers: dict[str, list[str]] = {name: [] for name in feeds}
    outputs: dict[str, int] = {}
    for level in model._nodes_by_depth.values():  # Keras has no public name for a model's graph
        for node in level:
            name = node.operation.name
            uses[name] += 1
            outputs[name] = len(node.outputs)
            for tensor in node.input_tensors:
                source = tensor._keras_history.operation.name
                feeds[name].append(source)
                readers[source].append(name)
    return [
        Node(
            name=layer.name,
            layer=layer,
            inputs=tuple(feeds[layer.name]),
            shape=_shape(layer) if uses[layer.name] == outputs.get(layer.name, 1) == 1 else (),
            readers=tuple(readers[layer.name]),
            uses=uses[layer.name],
        )
        for layer in model.operations
    ]


def _shape(layer: Any) -> tuple[int, ...]:
    return tuple(int(n) for n in layer.output.shape[1:])


def macs(node: Node, given: Sequence[tuple[int, ...]]) -> int | None:
    """Return the multiply-accumulates of a layer for one image; `given` holds the shapes that it reads.

    Convolutions and dense layers are counted, as the usual tables do; None where what is inside is not known.
    """
    if node.operation is not None:
        return node.macs
    layer = node.layer
    kind = node.kind
    if kind == "FrozenGraph":
        return None
    if kind == "Dense":
        return int(math.prod(given[0]) * layer.units)
    if not kind.endswith(("Conv2D", "Conv2DTranspose")) or not node.shape:
        return 0
    pixels, inputs = math.prod(node.shape[:2]), given[0][2]
    window = math.prod(layer.kernel_size)
    if kind == "Conv2D":
        return int(pixels * window * inputs // layer.groups * node.shape[2])
    if kind == "Conv2DTranspose":
        return int(math.prod(given[0][:2]) * window * inputs * node.shape[2])
    depthwise = pixels * window * inputs * layer.depth_multiplier
    if kind == "SeparableConv2D":
        return int(depthwise + pixels * inputs * layer.depth_multiplier * node.shape[2])
    return int(depthwise)


def count_macs(model: Any) -> int | None:
    """Return the multiply-accumulates of a flat network for one image; None where a layer cannot be counted."""
    found = nodes(model)
    shapes = {node.name: node.shape for node in found}
    counts = [macs(node, [shapes[name] for name in node.inputs]) for node in found]
    return None if None in counts else sum(count or 0 for count in counts)


def count_parameters(model: Any) -> int:
    """Return the parameters of a network, those of a graph that holds them as constants too."""
    steps = [node.layer for node in model.nodes()] if isinstance(model, Listed) else model.operations
    return sum(int(step.count_params()) for step in steps if hasattr(step, "count_params"))
