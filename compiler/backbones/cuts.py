"""Where a network that flattens its last feature map into dense layers can be cut: the choice that a build has."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tlc_edge.compiler.network.layers import Node, nodes
from tlc_edge.compiler.records import Backbone

from .shave import cannot_cut
from .unrestored import lacking

_AFTER_DENSE = frozenset(
    {"Activation", "ReLU", "LeakyReLU", "PReLU", "ELU", "BatchNormalization", "LayerNormalization"}
)

_SMALL, _TIMES = 2_000_000, 3  # parameters that dense layers may add: these, and so many times those up to the map
_WIDEST = 16_384  # features of a flattened map


@dataclass(frozen=True)
class Cut:
    """A layer, and how its feature map becomes a vector."""

    layer: str
    pool: str = "avg"


def cuts_of(backbone: Backbone) -> tuple[Cut, ...]:
    """Return the cuts between which only the data can decide, the default first; it alone where that is none.

    Where things are is what a network knows that flattens its last feature map, and an average forgets it. The others
    are its dense layers before the last one, with what belongs to each, and the whole map; but none that would make
    the trunk several times as large (VGG's first dense layer has seven times the weights of all its convolutions).
    """
    default = Cut(backbone.default_shave)
    rows = nodes(backbone.model)
    by_name = {r.name: r for r in rows}
    vectors: list[str] = []
    unwieldy: set[str] = set()
    allowance = _SMALL + _TIMES * sum(map(_parameters, rows[: [r.name for r in rows].index(default.layer) + 1]))
    node, flattened = by_name[default.layer], False
    lost = lacking(backbone.restored, backbone.merged)
    while len(node.readers) == 1 and node.readers[0] not in lost:
        node = by_name[node.readers[0]]
        if node.kind == "Flatten" or (node.kind == "Reshape" and len(node.shape) == 1):
            flattened = flattened or _has_places(by_name[node.inputs[0]])
        elif flattened and len(node.shape) == 1 and node.kind in ("Dense", "Gemm"):
            allowance -= _parameters(node)
            vectors.append(node.name)
            if allowance < 0:
                unwieldy.add(node.name)
        elif vectors and node.kind in _AFTER_DENSE:
            unwieldy |= {node.name} if vectors[-1] in unwieldy else set()
            vectors[-1] = node.name
        elif node.kind not in ("Dropout", "Permute", "ZeroPadding2D"):
            break
    if not backbone.removed:  # its last dense layer is still there
        vectors = vectors[:-1]
    if not flattened or (not vectors and not backbone.removed):
        return (default,)
    usable = [Cut(n) for n in vectors if n not in unwieldy and cannot_cut(by_name[n], rows[0].name) is None]
    whole = [Cut(default.layer, "flatten")] if math.prod(by_name[default.layer].shape) <= _WIDEST else []
    return (default, *usable, *whole)


def _parameters(node: Node) -> int:
    return int(node.layer.count_params()) if hasattr(node.layer, "count_params") else 0


def _has_places(node: Node) -> bool:
    return len(node.shape) == 3 and node.shape[0] * node.shape[1] > 1
