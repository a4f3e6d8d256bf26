"""Fuse: trunk, head and neck become one graph with the outputs `probabilities` and `embedding`."""

from __future__ import annotations

from typing import Any

from tlc.runtime.manifest import Preprocessing

from .records import Fused, Head, Neck, Trunk


def fuse(trunk: Trunk, neck: Neck, head: Head, labels: tuple[str, ...], preprocessing: Preprocessing) -> Fused:
    """Return one Keras model: normalised image in; probabilities [N, C], embedding [N, D] out."""
    from keras import Model, layers

    features = trunk.model.output
    classify = layers.Dense(head.kernel.shape[1], activation="softmax", name="probabilities")
    if neck.kernel is None:
        project: Any = layers.Activation("linear", name="embedding")
    else:
        project = layers.Dense(neck.width, name="embedding")
    model = Model(trunk.model.input, [classify(features), project(features)], name="fused")
    classify.set_weights([head.kernel, head.bias])
    if neck.kernel is not None:
        project.set_weights([neck.kernel, neck.bias])
    return Fused(model, trunk, neck, head, labels, preprocessing)
