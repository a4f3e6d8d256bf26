"""List a backbone's layers: what `--shave` can be."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

from tlc_edge.compiler.cache.folder import caching
from tlc_edge.compiler.network.layers import macs, nodes
from tlc_edge.compiler.options import Asked
from tlc_edge.compiler.records import Backbone
from tlc_edge.compiler.toolchain import load_tensorflow, require_toolchain

from .cuts import Cut, cuts_of
from .find import find_backbone, formats_of, load_backbone
from .known import Wanted, find_trunk, find_words, keep_trunk, keep_words
from .shave import cannot_cut, shave

_TRUNK, _LAYERS = ["default"], ["layers"]


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


@dataclass(frozen=True, eq=False)
class Looked:
    """A backbone, its layers in the order in which they run, and the cuts that a build compares."""

    backbone: Backbone
    layers: tuple[LayerInfo, ...]
    cuts: tuple[Cut, ...]


def list_layers(name: str, asked: Asked | None = None) -> tuple[Backbone, list[LayerInfo]]:
    """Load a backbone; return it and its layers in the order in which they run.

    Raises:
        UsageError: there is no backbone of that name.
        BuildError: TensorFlow or the weights are missing.
    """
    looked = look_at_layers(name, asked)
    return looked.backbone, list(looked.layers)


def look_at_layers(name: str, asked: Asked | None = None, cache: str | None = None) -> Looked:
    """Load a backbone and look at its layers; one that was looked at before is not loaded again.

    Raises:
        TlcError: as in `list_layers`.
    """
    asked = asked or Asked()
    source = find_backbone(name, asked)
    keras = "tflite" in formats_of(source)
    require_toolchain(keras=keras)
    wanted = Wanted(source, name, asked)
    with caching(cache) as kept:
        known = find_trunk(kept, wanted, _TRUNK)
        said = find_words(kept, wanted, _LAYERS)
        if known is not None and said is not None:
            layers = [LayerInfo(**row) for row in said["layers"]]
            # JSON has no tuples.
            shaped = tuple(replace(layer, shape=tuple(layer.shape)) for layer in layers)
            return Looked(known.backbone, shaped, tuple(Cut(**cut) for cut in said["cuts"]))
    if keras:
        load_tensorflow()
    backbone = load_backbone(name, asked)
    looked = Looked(backbone, tuple(_rows(backbone)), cuts_of(backbone))
    if keras:
        with caching(cache) as kept:
            keep_trunk(kept, wanted, _TRUNK, shave(backbone))
            words = {"layers": [asdict(row) for row in looked.layers], "cuts": [asdict(cut) for cut in looked.cuts]}
            keep_words(kept, wanted, _LAYERS, words)
    return looked


def _rows(backbone: Backbone) -> list[LayerInfo]:
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
    return rows
