"""What a network does to its image before its first layer with weights: the sign of what pixels it was trained on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .arithmetic import Map, through
from .fold import idle, replay
from .layers import functional

# They change where things are, and not what a value means.
_SPATIAL = (
    "Padding2D",
    "Cropping2D",
    "Pooling2D",
    "Crop",
    "Resizing",
    "UpSampling2D",
    "Reshape",
    "Permute",
    "InputLayer",
)


@dataclass(frozen=True, eq=False)
class Begin:
    """How the image reaches the first layers with weights."""

    maps: tuple[Map, ...]
    """What they read, in terms of the image's channels, whatever moved it about."""
    unclear: tuple[str, ...]
    """Names of operations before them that are neither arithmetic by constants nor a move."""


@dataclass(eq=False)
class _Wire:
    image: Map | None
    """None after the first layer with weights, and after what is not clear."""


def begins(model: Any) -> Begin:
    """Look at the begin of a Keras network with one image input [N, H, W, C]."""
    from keras import tree
    from keras.layers import Layer

    graph = functional(model)
    maps: list[Map] = []
    unclear: list[str] = []

    def look(layer: Any, args: Any, kwargs: Any) -> _Wire:
        wires = [w for w in tree.flatten((args, kwargs)) if isinstance(w, _Wire)]
        early = [w.image for w in wires if w.image is not None]
        kind = type(layer).__name__
        if not early or (idle(layer) and len(wires) == 1):
            return wires[0] if wires else _Wire(None)
        made = through(layer, args, kwargs, _image) if len(early) == len(wires) else None
        if made is None and kind.endswith(_SPATIAL) and len(wires) == 1:
            made = early[0]
        if made is not None:
            return _Wire(made)
        if isinstance(layer, Layer) and _is_of_the_network(layer):
            maps.extend(early)
        else:
            unclear.append(layer.name)
        return _Wire(None)

    for end in replay(graph, [_Wire(Map.identity(int(graph.inputs[0].shape[3])))], look):
        if end.image is not None:
            maps.append(end.image)
    return Begin(tuple(maps), tuple(unclear))


def _image(value: Any) -> Map | None:
    return value.image if isinstance(value, _Wire) else None


def _is_of_the_network(layer: Any) -> bool:
    """Return whether this is where the network proper begins: it has weights, or is an activation."""
    own = str(type(layer).__module__).startswith("keras.src.layers.")
    return (
        bool(layer.weights)
        or (own and ".activations." in type(layer).__module__)
        or type(layer).__name__ == "FrozenGraph"
    )
