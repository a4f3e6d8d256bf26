"""List a backbone's layers: what `--shave` can be."""

from __future__ import annotations

from dataclasses import dataclass

from .backbones import load_backbone
from .toolchain import load_tensorflow, require_toolchain


@dataclass(frozen=True)
class LayerInfo:
    """A row of `tlc layers`."""

    index: int
    name: str
    kind: str
    shape: tuple[int, ...]
    """Of the output, without the batch."""
    parameters: int
    shave: bool
    """Whether the backbone can be cut here."""
    default: bool


def list_layers(name: str) -> list[LayerInfo]:
    """Return the layers of a backbone in the order in which they run.

    Raises:
        UsageError: there is no backbone of that name.
        BuildError: TensorFlow or the weights are missing.
    """
    require_toolchain()
    load_tensorflow()
    backbone = load_backbone(name)
    rows: list[LayerInfo] = []
    for index, layer in enumerate(backbone.model.layers):
        shape = tuple(int(n) for n in layer.output.shape[1:])
        rows.append(
            LayerInfo(
                index=index,
                name=layer.name,
                kind=type(layer).__name__,
                shape=shape,
                parameters=int(layer.count_params()),
                shave=len(shape) == 3 and index > 0,
                default=layer.name == backbone.default_shave,
            )
        )
    return rows
