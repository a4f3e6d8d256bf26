"""Fuse: trunk, head and neck become one graph with the outputs `probabilities` and `embedding`.

This graph, in Keras and float32, is the reference that every lowered file is measured against.
"""

from __future__ import annotations

from typing import Any

from tlc.runtime.manifest import Preprocessing

from .records import Fused, Head, Neck, Trunk


def fuse(trunk: Trunk, neck: Neck, head: Head, labels: tuple[str, ...], preprocessing: Preprocessing) -> Fused:
    """Return one Keras model: normalised image in; probabilities [N, C] (none without classes), embedding [N, D]."""
    from keras import Model, layers

    features = trunk.model.output
    weights: list[tuple[Any, list[Any]]] = []

    def dense(x: Any, width: int, activation: str, name: str, values: list[Any]) -> Any:
        layer = layers.Dense(width, activation=activation, name=name)
        weights.append((layer, values))
        return layer(x)

    outputs: list[Any] = []
    if head.layers:
        x = features
        for i, given in enumerate(head.layers):
            name = "probabilities" if i == len(head.layers) - 1 else f"head_{i}"
            x = dense(x, given.kernel.shape[1], given.activation, name, [given.kernel, given.bias])
        outputs.append(x)
    if neck.kernel is None:
        outputs.append(layers.Activation("linear", name="embedding")(features))
    else:
        outputs.append(dense(features, neck.width, "linear", "embedding", [neck.kernel, neck.bias]))
    model = Model(trunk.model.input, outputs, name="fused")
    for layer, values in weights:
        layer.set_weights(values)
    return Fused(model, trunk, neck, head, labels, preprocessing)
