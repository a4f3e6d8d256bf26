"""Cut a trunk before its first layer to train: what lies before runs once, what lies behind is trained."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.network.layers import Node, nodes
from tlc_edge.compiler.records import Floats, Head, InputSpec, Trunk
from tlc_edge.compiler.weights.derived import derive_state
from tlc_edge.runtime.quiet import quiet

_BATCH = 16


@dataclass(frozen=True, eq=False)
class Cut:
    """A copy of a trunk in two parts."""

    trunk: Any
    """The copy, whole: normalised pixels to features. It shares its layers with both parts."""
    prefix: Any
    """Normalised pixels to what the second part reads; None where that is the pixels themselves."""
    model: Any
    """From there to probabilities; only the chosen layers and the head can be trained."""
    spec: InputSpec

    def run_prefix(self, images: NDArray[np.uint8]) -> list[Floats]:
        """Return what the second part reads for images [N, H, W, C], one array per input."""
        found: list[Floats] = []
        for start in range(0, len(images), _BATCH):
            pixels = (images[start : start + _BATCH].astype(np.float32) - self.spec.mean) / self.spec.std
            with quiet():
                given = pixels if self.prefix is None else self.prefix(pixels, training=False)
            given = given if isinstance(given, list | tuple) else [given]
            # Room for all at once: parts to put together later would take twice as much.
            found = found or [np.empty((len(images), *g.shape[1:]), np.float32) for g in given]
            for whole, part in zip(found, given, strict=True):
                whole[start : start + _BATCH] = part
        return found

    def get_weights(self) -> list[Floats]:
        """Return the values of what is trained."""
        return [v.numpy().copy() for v in self.model.trainable_variables]

    def set_weights(self, values: Sequence[Floats]) -> None:
        """Set them."""
        for variable, value in zip(self.model.trainable_variables, values, strict=True):
            variable.assign(value)


def cut_before(trunk: Trunk, layers: Sequence[str], head: Head) -> Cut:
    """Return a copy of `trunk` with `head` on it, cut before the first of `layers`, which alone are trained."""
    import keras

    with quiet():
        copy: Any = keras.models.clone_model(trunk.model)
        copy.set_weights(trunk.model.get_weights())
        derive_state(copy)
    steps = nodes(copy)
    crossing = _crossing(steps, layers)
    for node in steps:
        if hasattr(node.layer, "trainable"):
            node.layer.trainable = node.name in layers
    inputs = [n.layer.output for n in crossing]
    whole = [n.name for n in crossing] == [steps[0].name]
    x = copy.output
    for i, given in enumerate(head.layers):
        dense = keras.layers.Dense(given.kernel.shape[1], given.activation, name=f"fine_tune_head_{i}")
        x = dense(x)
        dense.set_weights([given.kernel, given.bias])
    return Cut(
        trunk=copy,
        prefix=None if whole else keras.Model(copy.input, inputs),
        model=keras.Model(inputs, x),
        spec=trunk.backbone.input,
    )


def cut_bytes(model: Any, layers: Sequence[str]) -> int:
    """Return what one image takes, in float32, between what lies before the first of `layers` and the rest."""
    return sum(4 * math.prod(node.shape) for node in _crossing(nodes(model), layers))


def _crossing(steps: Sequence[Node], layers: Sequence[str]) -> list[Node]:
    """Return the steps before the first of `layers` that a later one reads."""
    names = [n.name for n in steps]
    first = min(names.index(name) for name in layers)
    before = set(names[:first])
    return [n for n in steps[:first] if any(r not in before for r in n.readers)]
