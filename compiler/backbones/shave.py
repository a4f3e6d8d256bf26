"""Shave: cut the backbone at a layer; what stays, pooled, is the trunk."""

from __future__ import annotations

import math
from typing import Any

from tlc_edge.compiler.network.facts import facts_of
from tlc_edge.compiler.network.layers import Node, nodes
from tlc_edge.compiler.network.onnx_network import OnnxNetwork
from tlc_edge.compiler.options import POOLS
from tlc_edge.compiler.records import Backbone, Trunk
from tlc_edge.runtime.errors import UsageError, unknown_name

from .unrestored import check_restored


def shave(backbone: Backbone, layer: str | None = None, pool: str = "avg") -> Trunk:
    """Cut at `layer` and pool its feature map to one vector per image; a layer that gives a vector is not pooled.

    `layer` is a name, an index as `tlc layers` counts, or `auto` or None: the backbone's own choice.

    Raises:
        UsageError: there is no such layer or pooling, or the network cannot be cut there.
        BuildError: a layer before the cut should have come from a checkpoint that has none of it.
    """
    if pool not in POOLS:
        raise unknown_name("pooling", pool, POOLS)
    node = find_layer(backbone, layer)
    if isinstance(backbone.model, OnnxNetwork):
        pool = "none" if len(node.shape) == 1 else pool
        return Trunk(backbone, node.name, pool, backbone.model.cut(node.name, pool), _width(node.shape, pool))
    from keras import Model, layers

    cut = node.layer.output
    if len(cut.shape) == 2:
        pool, features = "none", cut
    else:
        pooling: dict[str, Any] = {
            "avg": layers.GlobalAveragePooling2D,
            "max": layers.GlobalMaxPooling2D,
            "flatten": layers.Flatten,
        }
        features = pooling[pool](name=f"{pool}_pool")(cut)
    model = Model(backbone.model.input, features, name=f"{backbone.model.name}_trunk")
    check_restored(backbone, {step.name for step in model.operations})
    return Trunk(backbone, node.name, pool, model, int(features.shape[-1]))


def find_layer(backbone: Backbone, layer: str | None) -> Node:
    """Return where to cut.

    Raises:
        UsageError: no such layer, or the network cannot be cut there; says why.
    """
    rows = nodes(backbone.model)
    asked = backbone.default_shave if layer in (None, "auto") else str(layer)
    if asked not in backbone.merged and all(r.name != asked for r in rows):
        # Keras 2 had slashes in names, and a layer can be asked for as its file calls it.
        asked = asked.replace("/", ".")
    asked = backbone.merged.get(asked, asked)
    found = next((r for r in rows if r.name == asked), None)
    if found is None and asked.isdecimal():
        if int(asked) >= len(rows):
            raise UsageError(f"--shave {asked}: {backbone.name} has layers 0 to {len(rows) - 1}; see `tlc layers`")
        found = rows[int(asked)]
    if found is None and asked in backbone.removed:
        raise UsageError(
            f"--shave {asked}: that is the classifier of {backbone.name} or comes after it; "
            f"cut at {backbone.default_shave} or before"
        )
    if found is None:
        raise unknown_name(f"layer of {backbone.name}", asked, [r.name for r in rows])
    reason = cannot_cut(found, rows[0].name)
    if reason:
        raise UsageError(f"--shave {asked}: {reason}; `tlc layers` lists where it can be cut")
    return found


def cannot_cut(node: Node, first: str) -> str | None:
    """Return why a network cannot be cut at a layer, or None; `first` is the name of its input."""
    if node.name == first:
        return "this is the input, and nothing would be left"
    if node.no_cut is not None:
        return node.no_cut
    if node.uses > 1:
        return f"the network uses this layer {node.uses} times, so it has several outputs"
    if not node.shape:
        return "this layer has several outputs"
    if len(node.readers) > 1:
        return (
            f"its output goes to {len(node.readers)} layers ({', '.join(node.readers)}), so the cut would lose a branch"
        )
    if len(node.shape) not in (1, 3):
        return f"it gives {list(node.shape)} an image, expected a feature map [height, width, channels] or a vector"
    return None


def _width(shape: tuple[int, ...], pool: str) -> int:
    return math.prod(shape) if pool == "flatten" else shape[-1]


def cost_of_flatten(trunk: Trunk) -> str | None:
    """Return what `flatten` costs, in a sentence; None where it costs nothing."""
    if trunk.pool != "flatten":
        return None
    channels = facts_of(trunk).channels
    places = trunk.width // channels
    return (
        f"flatten keeps where things are: {trunk.width:,} features per image in place of {channels:,}, "
        f"so head and neck are {places} times as large ({4 * trunk.width:,} bytes per class in float32)"
    )
