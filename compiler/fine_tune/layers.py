"""Which layers of a trunk are fine-tuned: by number, by pattern, or by how much data there is."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tlc_edge.compiler.network.layers import nodes
from tlc_edge.compiler.records import Trunk
from tlc_edge.runtime.errors import BuildError, UsageError

from .cut import cut_bytes

# Least training images, and the share of the layers with weights that is trained from there on: with few images
# a network learns them by heart, and its ImageNet features are worth more than what it could learn.
_AUTO = ((10_000, 1.0), (4_000, 0.5), (1_500, 0.25), (500, 0.1))
_EACH = 40
"""Images per class, on average, below which `auto` trains no layer."""

MEMORY = 4_000_000_000
"""Bytes that what the trained layers read may take."""


@dataclass(frozen=True)
class ChosenLayers:
    """The layers to train, in the order in which they run; none: the trunk stays as it is."""

    layers: tuple[str, ...]
    reason: str


def choose(trunk: Trunk, asked: str, images: int, classes: int, views: int = 1) -> ChosenLayers:
    """Return the layers that `asked` names: `auto`, a number of last layers, or a pattern of names.

    What they read is kept in memory for all views of all images; `auto` takes no more layers than `MEMORY` bears.

    Args:
        trunk: a trunk that was not fine-tuned.
        asked: see above.
        images: training images.
        classes: their classes.
        views: 1, and the augmented copies of each image.

    Raises:
        UsageError: the pattern is none, or matches nothing.
        BuildError: the trunk has no layers with weights; what those asked for read does not fit into the memory.
    """
    layers = [n.name for n in nodes(trunk.model) if getattr(n.layer, "trainable_weights", None)]
    if not layers:
        raise BuildError(f"--fine-tune: {trunk.backbone.name} is used whole, and has no layers that can be trained")
    if asked == "auto":
        return _by_data(trunk, layers, images, classes, views)
    chosen = _named(layers, asked, trunk.backbone.name)
    size = _bytes(trunk, chosen.layers, images, views)
    if size > MEMORY:
        raise BuildError(
            f"--fine-tune {asked}: {_reads(chosen.layers[0], size, images, views)}; "
            "train fewer layers, or use --limit or fewer --copies"
        )
    return chosen


def check_asked(asked: str) -> None:
    """Check what can be checked without a trunk.

    Raises:
        UsageError: no layer is asked for, or the pattern is none.
    """
    if asked.isdecimal():
        if not int(asked):
            raise UsageError(f"--fine-tune {asked}: trains no layer; give 1 or more, or leave it out")
        return
    try:
        re.compile(asked)
    except re.error as e:
        raise UsageError(f"--fine-tune {asked}: not a number, auto, or a regular expression ({e})") from None


def _named(layers: list[str], asked: str, backbone: str) -> ChosenLayers:
    check_asked(asked)
    if asked.isdecimal():
        count = min(int(asked), len(layers))
        return ChosenLayers(tuple(layers[len(layers) - count :]), f"the last {count} of {len(layers)} layers, as asked")
    pattern = re.compile(asked)
    found = tuple(name for name in layers if pattern.fullmatch(name))
    if not found:
        raise UsageError(
            f"--fine-tune {asked}: matches no layer with weights of {backbone}; its last ones are "
            f"{', '.join(layers[-6:])}; see `tlc layers`"
        )
    return ChosenLayers(found, f"{len(found)} of {len(layers)} layers match {asked}")


def _by_data(trunk: Trunk, layers: list[str], images: int, classes: int, views: int) -> ChosenLayers:
    each = images / classes
    share = next((share for least, share in _AUTO if images >= least), 0.0)
    if not share or each < _EACH:
        why = f"{images} training images, {each:.0f} per class; from {_AUTO[-1][0]} and {_EACH} per class on it pays"
        return ChosenLayers((), f"no layer, for there are {why}")
    most = max(1, round(share * len(layers)))
    sizes = [_bytes(trunk, layers[-count:], images, views) for count in range(1, most + 1)]
    count = max((i for i, size in enumerate(sizes, 1) if size <= MEMORY), default=0)
    why = f"there are {images} training images"
    if count < most:
        why += f", and {_reads(layers[-count - 1], sizes[count], images, views)}"
    if not count:
        return ChosenLayers((), f"no layer, for {why}")
    return ChosenLayers(tuple(layers[-count:]), f"the last {count} of {len(layers)} layers, for {why}")


def _bytes(trunk: Trunk, layers: Sequence[str], images: int, views: int) -> int:
    return images * views * cut_bytes(trunk.model, layers)


def _reads(layer: str, size: int, images: int, views: int) -> str:
    copies = " and their copies" if views > 1 else ""
    return f"what {layer} reads would take {size / 1e9:.1f} GB for {images} images{copies}, more than {MEMORY / 1e9:g}"
