"""Shave: cut the backbone at a layer; what stays, pooled, is the trunk."""

from __future__ import annotations

from typing import Any

from tlc.runtime.errors import UsageError, unknown_name

from .records import Backbone, Trunk

POOLS = ("avg", "max", "flatten")


def shave(backbone: Backbone, layer: str | None = None, pool: str = "avg") -> Trunk:
    """Cut at `layer` (default: the backbone's own choice) and pool its feature map to a vector an image.

    Raises:
        UsageError: there is no such layer or pooling.
    """
    from keras import Model, layers

    if pool not in POOLS:
        raise unknown_name("pooling", pool, POOLS)
    name = layer or backbone.default_shave
    known = [item.name for item in backbone.model.layers]
    if name not in known:
        raise unknown_name(f"layer of {backbone.name}", name, known)
    cut = backbone.model.get_layer(name).output
    if len(cut.shape) != 4:
        raise UsageError(f"layer {name!r} gives shape {tuple(cut.shape)}, expected a feature map [N, H, W, C]")
    pooling: dict[str, Any] = {
        "avg": layers.GlobalAveragePooling2D,
        "max": layers.GlobalMaxPooling2D,
        "flatten": layers.Flatten,
    }
    features = pooling[pool](name=f"{pool}_pool")(cut)
    model = Model(backbone.model.input, features, name=f"{backbone.model.name}_trunk")
    return Trunk(backbone, name, pool, model, int(features.shape[-1]))
