"""List a backbone's layers: what `--shave` can be."""

from __future__ import annotations

from dataclasses import dataclass

from tlc_edge.compiler.network.layers import macs, nodes
from tlc_edge.compiler.options import Asked
from tlc_edge.compiler.records import Backbone
from tlc_edge.compiler.toolchain import load_tensorflow, require_toolchain

from .find import find_backbone, formats_of, load_backbone
from .shave import cannot_cut


@dataclass(frozen=True)
class LayerInfo:
    """A row of `tlc layers`."""

    index: int
    name: str
    kind: str
    shape: tuple[int, ...]
    """Of the output, without the batch."""
    parameters: int
    macs: int | None
    """Multiply-accumulates for one image; None where they cannot be counted."""
    shave: bool
    """Whether the backbone can be cut here."""
    default: bool
    reason: str | None
    """Why it is the default, or why the backbone cannot be cut here."""


def list_layers(name: str, asked: Asked | None = None) -> tuple[Backbone, list[LayerInfo]]:
    """Load a backbone; return it and its layers in the order in which they run.

    Raises:
        UsageError: there is no backbone of that name.
        BuildError: TensorFlow or the weights are missing.
    """
    keras = "tflite" in formats_of(find_backbone(name, asked))
    require_toolchain(keras=keras)
    if keras:
        load_tensorflow()
    backbone = load_backbone(name, asked)
    found = nodes(backbone.model)
    shapes = {node.name: node.shape for node in found}
    rows: list[LayerInfo] = []
    for index, node in enumerate(found):
        default = node.name == backbone.default_shave
        reason = cannot_cut(node, found[0].name)
        rows.append(
            LayerInfo(
                index=index,
                name=node.name,
                kind=node.kind,
                shape=node.shape,
                parameters=int(node.layer.count_params()) if hasattr(node.layer, "count_params") else 0,
                macs=macs(node, [shapes[i] for i in node.inputs]),
                shave=reason is None,
                default=default,
                reason=backbone.default_reason if default else reason,
            )
        )
    return backbone, rows
