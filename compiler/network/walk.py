"""Run a flat Keras network layer by layer, holding no more than what is still to be read; and give it other weights."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = dict[int, Any]
"""What was computed so far: a value for each tensor of the network that is still read, by the tensor's id."""
Weights = Mapping[str, Sequence[NDArray[np.float32]]]
"""Weights of layers by the layer's name, in the order of `get_weights`."""


@dataclass(frozen=True, eq=False)
class Step:
    """One use of a layer, or of an operation between layers."""

    layer: Any
    inputs: tuple[int, ...]
    """ids of the tensors that it reads, each once."""
    outputs: tuple[int, ...]
    """ids of those that it gives."""
    shapes: tuple[tuple[int | None, ...], ...]
    """Shapes of what it reads, then of what it gives."""
    last: tuple[int, ...]
    """ids of those that nothing reads after it."""
    node: Any

    @property
    def kind(self) -> str:
        """The layer's class."""
        return type(self.layer).__name__

    def run(self, values: Values) -> Any:
        """Return what the step gives for `values`, as at inference."""
        args, kwargs = self.node.arguments.fill_in(values)
        return self.layer(*args, **{key: value for key, value in kwargs.items() if key not in ("training", "mask")})

    def keep(self, values: Values, given: Any) -> None:
        """Put what the step gave into `values`, and drop what is not read any more."""
        from keras import tree

        values.update(zip(self.outputs, tree.flatten(given), strict=True))
        for key in self.last:
            values.pop(key, None)


def steps(model: Any) -> list[Step]:
    """Return the steps of a flat functional model in the order in which they run."""
    # Keras has no public name for a model's graph; the order is that of its own `call`.
    levels = [model._nodes_by_depth[depth] for depth in sorted(model._nodes_by_depth, reverse=True)]
    nodes = [node for level in levels for node in level if node.operation is not None and not node.is_input]
    reads = [tuple(dict.fromkeys(id(tensor) for tensor in node.input_tensors)) for node in nodes]
    gives = [tuple(id(tensor) for tensor in node.outputs) for node in nodes]
    final = {key: i for i, (read, give) in enumerate(zip(reads, gives, strict=True)) for key in (*read, *give)}
    last: list[list[int]] = [[] for _ in nodes]
    for key, i in final.items():
        if key not in {id(tensor) for tensor in model.outputs}:
            last[i].append(key)
    return [
        Step(
            node.operation,
            read,
            give,
            tuple(tuple(tensor.shape) for tensor in (*node.input_tensors, *node.outputs)),
            tuple(done),
            node,
        )
        for node, read, give, done in zip(nodes, reads, gives, last, strict=True)
    ]


def start(model: Any, images: Any) -> Values:
    """Return the values before the first step: the model's one input, [N, H, W, C]."""
    return {id(model.inputs[0]): images}


def readers(found: Sequence[Step]) -> dict[int, list[Step]]:
    """Return the steps that read each tensor, by its id."""
    reading: dict[int, list[Step]] = {}
    for step in found:
        for key in step.inputs:
            reading.setdefault(key, []).append(step)
    return reading


def is_relu(step: Step) -> bool:
    """Return whether a step ends in max(x, 0), clipped above or not."""
    from keras import activations

    if step.kind == "ReLU":
        return not step.layer.negative_slope and not step.layer.threshold
    own = getattr(step.layer, "activation", None)
    return step.kind in ("Relu", "Relu6") or own in (activations.relu, activations.relu6)


def largest(model: Any, found: Sequence[Step]) -> int:
    """Return how many numbers of one image are held at once while the steps run, at most."""
    held: dict[int, int] = {id(tensor): _size(tensor.shape) for tensor in model.inputs}
    most = 0
    for step in found:
        for tensor in step.node.outputs:
            held[id(tensor)] = _size(tensor.shape)
        most = max(most, sum(held.values()))
        for key in step.last:
            held.pop(key, None)
    return most


def _size(shape: Sequence[int | None]) -> int:
    return math.prod(n or 1 for n in shape[1:])


def with_weights(model: Any, weights: Weights) -> Any:
    """Return a copy of a model with other weights in the layers that `weights` names; they all get a bias."""
    from keras import layers, models

    def copy(layer: Any) -> Any:
        if not isinstance(layer, layers.Layer):
            return layer  # an operation between layers: it has no weights
        config = dict(layer.get_config())
        if layer.name in weights:
            config["use_bias"] = True
        return type(layer).from_config(config)

    made = models.clone_model(model, clone_function=copy)
    for layer in model.layers:
        if layer.weights:
            made.get_layer(layer.name).set_weights(list(weights.get(layer.name, layer.get_weights())))
    return made
