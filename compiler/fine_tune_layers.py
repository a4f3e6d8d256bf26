"""Which layers of a trunk are fine-tuned: by number, by pattern, or by how much data there is."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tlc.runtime.errors import BuildError, UsageError

from .network import nodes
from .records import Trunk

# Least training images, and the share of the layers with weights that is trained from there on: with few images
# a network learns them by heart, and its ImageNet features are worth more than what it could learn.
_AUTO = ((10_000, 1.0), (4_000, 0.5), (1_500, 0.25), (500, 0.1))
_EACH = 40
"""Images a class, on average, below which `auto` trains no layer."""


@dataclass(frozen=True)
class Choice:
    """The layers to train, in the order in which they run; none: the trunk stays as it is."""

    layers: tuple[str, ...]
    reason: str


def choose(trunk: Trunk, asked: str, images: int, classes: int) -> Choice:
    """Return the layers that `asked` names: `auto`, a number of last layers, or a pattern of names.

    Raises:
        UsageError: the pattern is none, or matches nothing.
        BuildError: the trunk has no layers with weights.
    """
    layers = [n.name for n in nodes(trunk.model) if getattr(n.layer, "trainable_weights", None)]
    if not layers:
        raise BuildError(f"--fine-tune: {trunk.backbone.name} is used whole, and has no layers that can be trained")
    if asked == "auto":
        return _by_data(layers, images, classes)
    if asked.isdecimal():
        count = min(int(asked), len(layers))
        return Choice(tuple(layers[len(layers) - count :]), f"the last {count} of {len(layers)} layers, as asked")
    try:
        pattern = re.compile(asked)
    except re.error as e:
        raise UsageError(f"--fine-tune {asked}: not a number, auto, or a regular expression ({e})") from None
    found = tuple(name for name in layers if pattern.fullmatch(name))
    if not found:
        raise UsageError(
            f"--fine-tune {asked}: matches no layer with weights of {trunk.backbone.name}; its last ones are "
            f"{', '.join(layers[-6:])}; see `tlc layers`"
        )
    return Choice(found, f"{len(found)} of {len(layers)} layers match {asked}")


def _by_data(layers: list[str], images: int, classes: int) -> Choice:
    each = images / classes
    share = next((share for least, share in _AUTO if images >= least), 0.0)
    if not share or each < _EACH:
        why = f"{images} training images, {each:.0f} a class; from {_AUTO[-1][0]} and {_EACH} a class on it pays"
        return Choice((), f"no layer, for there are {why}")
    count = max(1, round(share * len(layers)))
    return Choice(
        tuple(layers[-count:]), f"the last {count} of {len(layers)} layers, for there are {images} training images"
    )
