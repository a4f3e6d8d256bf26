"""A head from a Keras file: dense layers that were trained elsewhere, attached as they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tlc_edge.compiler.network.layers import functional, nodes
from tlc_edge.compiler.records import Dense, Head
from tlc_edge.runtime.errors import BuildError

from .training import Training

_IDLE = frozenset({"InputLayer", "Dropout", "Flatten"})  # they do nothing to a vector when they do not train
_ACTIVATIONS = frozenset({"linear", "relu", "softmax"})


def make(given: Training) -> Head:
    """Load the head that is named.

    Raises:
        BuildError: as in `load_head`.
    """
    return load_head(given.name, given.views[0].shape[1], given.labels)


def load_head(name: str, width: int, labels: tuple[str, ...]) -> Head:
    """Return the head in a Keras file; its outputs are the classes in the order of `labels`.

    One sigmoid unit tells two classes apart: it is the second one's probability, as Keras numbers folders.

    Raises:
        BuildError: it is damaged, carries code, is no row of dense layers that ends in a softmax, or does not fit.
    """
    from tlc_edge.compiler.weights.keras_file import load_keras_file

    model, digest = load_keras_file(Path(name))
    layers: list[Dense] = []
    for layer in _chain(model, name):
        layers = _append(layers, layer, name)
    layers = _as_softmax(layers)
    if not layers:
        raise BuildError(f"--head {name}: has no Dense layer, expected one or more with a softmax at the end")
    inputs, outputs = layers[0].kernel.shape[0], layers[-1].kernel.shape[1]
    if inputs != width:
        raise BuildError(
            f"--head {name}: takes {inputs} features, and the trunk gives {width}; "
            "choose the --backbone, --shave and --pool that it was trained on"
        )
    if outputs != len(labels):
        raise BuildError(
            f"--head {name}: tells {outputs} classes apart, and the data has {len(labels)} ({', '.join(labels[:12])})"
        )
    if any(layer.activation == "sigmoid" for layer in layers):
        raise BuildError(f"--head {name}: has a sigmoid before its last layer, which no target's file can hold")
    if layers[-1].activation != "softmax":
        raise BuildError(
            f"--head {name}: ends in {layers[-1].activation}, expected a softmax, which gives probabilities"
        )
    if any(layer.activation == "softmax" for layer in layers[:-1]):
        raise BuildError(f"--head {name}: has a softmax before its last layer, which no target's file can hold")
    return Head("file", tuple(layers), {"file": Path(name).name, "sha256": digest})


def _chain(model: Any, name: str) -> list[Any]:
    """Return the layers of a network in which each reads the one before it, and nothing else."""
    plain = functional(model)
    for what, count in (("inputs", len(plain.inputs)), ("outputs", len(plain.outputs))):
        if count != 1:
            raise BuildError(f"--head {name}: has {count} {what}, expected one: features in, probabilities out")
    steps = nodes(plain)
    for i, node in enumerate(steps):
        if node.uses != 1:
            raise BuildError(f"--head {name}: layer {node.name} is used {node.uses} times, expected each layer once")
        before, after = [n.name for n in steps[max(0, i - 1) : i]], [n.name for n in steps[i + 1 : i + 2]]
        if [*node.inputs] != before or [*node.readers] != after:
            raise BuildError(
                f"--head {name}: layer {node.name} reads {_names(node.inputs)} and is read by {_names(node.readers)}, "
                "expected layers in one row, each reading the one before it"
            )
    return [node.layer for node in steps]


def _names(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"


def _append(layers: list[Dense], layer: Any, name: str) -> list[Dense]:
    """Return the dense layers with one more of Keras' layers taken in."""
    kind = type(layer).__name__
    if kind in _IDLE:
        return layers
    if kind == "Dense":
        if len(layer.input.shape) != 2:
            given = [*layer.input.shape[1:]]
            raise BuildError(f"--head {name}: layer {layer.name} reads {given}, expected one vector for each image")
        weights = [np.asarray(w, np.float32) for w in layer.get_weights()]
        bias = weights[1] if len(weights) > 1 else np.zeros(weights[0].shape[1], np.float32)
        return [*layers, Dense(weights[0], bias, _known(_activation(layer), layer.name, name, weights[0].shape[1]))]
    if kind in ("Activation", "ReLU", "Softmax") and layers and layers[-1].activation == "linear":
        plain = kind != "ReLU" or (layer.max_value is None and not layer.negative_slope and not layer.threshold)
        if plain:
            asked = _activation(layer) if kind == "Activation" else kind.lower()
            return [
                *layers[:-1],
                replace(layers[-1], activation=_known(asked, layer.name, name, layers[-1].kernel.shape[1])),
            ]
    raise BuildError(
        f"--head {name}: layer {layer.name} is {kind}, expected Dense with linear, relu or softmax, or Dropout"
    )


def _activation(layer: Any) -> str:
    """Return an activation's name; it is a function, or a layer of its own."""
    return str(getattr(layer.activation, "__name__", type(layer.activation).__name__))


def _known(activation: str, layer: str, name: str, units: int) -> str:
    one = activation == "sigmoid" and units == 1
    if activation not in _ACTIVATIONS and not one:
        raise BuildError(
            f"--head {name}: layer {layer} has the activation {activation}, expected relu, softmax or one sigmoid unit"
        )
    return activation


def _as_softmax(layers: list[Dense]) -> list[Dense]:
    """Return layers in which one sigmoid unit at the end is what it equals: a softmax over [0, x]."""
    if not layers or layers[-1].activation != "sigmoid":
        return layers
    last = layers[-1]
    kernel = np.concatenate([np.zeros_like(last.kernel), last.kernel], axis=1)
    return [*layers[:-1], Dense(kernel, np.concatenate([np.zeros_like(last.bias), last.bias]), "softmax")]
