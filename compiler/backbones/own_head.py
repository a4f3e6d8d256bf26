"""The classifier that came with a network, as dense layers on the features of a cut: `--head own`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tlc_edge.compiler.network.layers import Node
from tlc_edge.compiler.records import Dense, OwnHead

_POOLS = {"GlobalAveragePooling2D": "avg", "GlobalMaxPooling2D": "max", "Flatten": "flatten"}
_SHAPING = frozenset({"Flatten", "Reshape"})
_LARGEST = 20_000  # values of a map that a classifier of places is written out for


def own_head(rows: Sequence[Node], end: Node | None) -> OwnHead | str:
    """Return the classifier that ends in the layer `end` of a flat Keras network, or why there is none.

    Dense layers with ReLU before it belong to it, back to where the features come from: a pooled map, or the first
    dense layer after a flattened one. A convolution whose maps are averaged is a linear map of the map before it.
    """
    if end is None:
        return "it ends in no classifier that is known: dense layers, or a convolution that is averaged, and a softmax"
    by_name = {r.name: r for r in rows}
    kind = _last_activation(rows, end)
    units = int(math.prod(end.shape[-1:]))
    if kind == "sigmoid" and units > 1:
        return f"its classifier ends in {units} sigmoid units, which do not exclude one another; expected a softmax"
    if len(end.inputs) != 1:
        return f"its classifier {end.name} reads {len(end.inputs)} layers"
    before = by_name[end.inputs[0]]
    if math.prod(before.shape[:-1]) > 1:
        return _of_places(rows, end, before, kind)
    layers = [_dense(end, "softmax")]
    if kind == "sigmoid":
        only = layers[0]
        kernel = np.concatenate([np.zeros_like(only.kernel), only.kernel], axis=1)
        layers = [Dense(kernel, np.concatenate([np.zeros_like(only.bias), only.bias]), "softmax")]
    node = before
    while (found := _hidden(node, by_name)) is not None:
        dense, below = found
        if _flattens(below, by_name):  # where things are: too wide, and a weight for each of them
            break
        layers.insert(0, _dense(dense, "relu" if _is_relu(dense) or node is not dense else "linear"))
        node = below
    pool = "avg"
    source = _unshaped(node, by_name)
    if source.kind in _POOLS and math.prod(by_name[source.inputs[0]].shape[:2]) > 1:
        pool, source = _POOLS[source.kind], by_name[source.inputs[0]]
    elif len(source.shape) == 3:
        source = node if len(node.shape) == 1 else source
    return OwnHead(source.name, pool, tuple(layers))


def _last_activation(rows: Sequence[Node], end: Node) -> str:
    """Return `softmax`, `sigmoid`, or `linear` where the network gives logits."""
    after = rows[[r.name for r in rows].index(end.name) :]
    names = ["softmax" if r.kind == "Softmax" else _activation(r.layer) for r in after]
    return next((n for n in reversed(names) if n in ("softmax", "sigmoid", "log_softmax")), "linear")


def _activation(layer: Any) -> str:
    return str(getattr(getattr(layer, "activation", None), "__name__", "linear"))


def _is_relu(node: Node) -> bool:
    if node.kind == "ReLU":
        return node.layer.max_value is None and not node.layer.negative_slope and not node.layer.threshold
    return _activation(node.layer) == "relu"


def _dense(node: Node, activation: str) -> Dense:
    weights = node.layer.get_weights()
    kernel = np.ascontiguousarray(weights[0].reshape(-1, weights[0].shape[-1]), np.float32)
    bias = np.asarray(weights[1], np.float32) if node.layer.use_bias else np.zeros(kernel.shape[1], np.float32)
    return Dense(kernel, bias, activation)


def _hidden(node: Node, by_name: dict[str, Node]) -> tuple[Node, Node] | None:
    """Return the dense layer that gives what `node` gives, and what it reads; None where another kind does."""
    dense = node
    if node.kind in ("ReLU", "Activation") and _is_relu(node) and len(node.inputs) == 1:
        dense = by_name[node.inputs[0]]
        if _activation(dense.layer) != "linear":
            return None
    plain = dense.kind == "Dense" and len(dense.shape) == 1 and len(dense.inputs) == 1 and dense.uses == 1
    if not plain or _activation(dense.layer) not in ("linear", "relu") or len(dense.readers) > 1:
        return None
    return dense, by_name[dense.inputs[0]]


def _unshaped(node: Node, by_name: dict[str, Node]) -> Node:
    """Return what a vector comes from, passing over layers that only give it another shape."""
    while node.kind in _SHAPING and len(node.inputs) == 1 and math.prod(by_name[node.inputs[0]].shape[:-1]) == 1:
        node = by_name[node.inputs[0]]
    return node


def _flattens(node: Node, by_name: dict[str, Node]) -> bool:
    source = _unshaped(node, by_name)
    return source.kind in _SHAPING and math.prod(by_name[source.inputs[0]].shape[:-1]) > 1


def _of_places(rows: Sequence[Node], end: Node, before: Node, kind: str) -> OwnHead | str:
    """Return a classifier of places as one dense layer on the flattened map that it reads, if it is linear in it."""
    from keras import Model

    size = math.prod(before.shape)
    if kind != "softmax":
        return f"its classifier {end.name} is a convolution without a softmax"
    if size > _LARGEST:
        return f"its classifier {end.name} reads {size:,} values, more than can be written out as a dense layer"
    last = rows[-1]
    if last.kind in ("Softmax", "Activation"):
        last = next(r for r in rows if r.name == last.inputs[0])
    logits = Model(before.layer.output, last.layer.output)

    def run(maps: Any) -> Any:
        given = np.asarray(maps, np.float32).reshape(-1, *before.shape)
        return np.concatenate([np.asarray(logits(given[i : i + 256])) for i in range(0, len(given), 256)]).reshape(
            len(given), -1
        )

    bias = run(np.zeros((1, size)))[0]
    kernel = run(np.eye(size, dtype=np.float32)) - bias
    probe = np.random.default_rng(0).normal(size=(4, size)).astype(np.float32)
    wanted = run(probe)
    if np.abs(probe @ kernel + bias - wanted).max() > 1e-4 * max(1.0, float(np.abs(wanted).max())):
        return f"its classifier {end.name} is no linear map of the features before it, and a head can only be that"
    return OwnHead(before.name, "flatten", (Dense(kernel.astype(np.float32), bias.astype(np.float32), "softmax"),))
