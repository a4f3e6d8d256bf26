"""Weights for the int8 schemes that bring a trunk's features nearer to float, at no cost on the device."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.network.walk import Weights, largest, steps, with_weights
from tlc_edge.compiler.records import Correction, Trunk
from tlc_edge.runtime.quiet import quiet

from .bias_correction import can_correct, correct_biases
from .equalise import equalise, noise_images

USED = 30
"""Images that are used at most. Two thirds set the biases, 50 or 100 were no better; the others judge."""
_FEWEST = 4
_BYTES = 1_000_000_000
"""Of activations, about, that the walk may hold at once; a large network gets fewer images."""
_STREAMS = 4  # of all images: float, corrected and what a layer takes while it is corrected
_ENOUGH = 0.02
"""Share of the features' variance that is noise, below which equalising is not tried: it would take as long again."""


def near_float(
    trunk: Trunk, calibration: NDArray[np.uint8] | None, activations: bool
) -> tuple[Trunk, Correction | None]:
    """Return a trunk whose weights lie on the int8 grid, and whose features lie nearer to float once it is lowered.

    The trunk itself comes back where that cannot be had: fewer than two images, layers of unknown kind (it was not
    tried then, and there is no `Correction`), or features that on some of the images, which set nothing, would lie no
    nearer than those of weights that are merely rounded.

    Args:
        trunk: it stays as it is.
        calibration: training images [N, H, W, C]; the first `USED`, or fewer where the network is large.
        activations: the scheme rounds what is between the layers to 8 bits.
    """
    seen, unseen = _split(trunk, calibration)
    if not len(unseen) or not can_correct(trunk.model):
        return trunk, None
    with quiet():
        first = best = correct_biases(trunk.model, {}, seen, unseen, activations)
        if activations and best.noise > _ENOUGH:
            equal = _equalised(trunk, seen)
            if equal:
                other = correct_biases(trunk.model, equal, seen, unseen, activations)
                best = other if other.noise < best.noise else best
        taken = best.noise < first.plain
        correction = Correction(len(unseen), first.plain_cosine, best.cosine, taken)
        made = replace(trunk, model=with_weights(trunk.model, best.weights), facts=None) if taken else trunk
    return made, correction


def _split(trunk: Trunk, calibration: NDArray[np.uint8] | None) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return normalised images that set the biases, and others that judge."""
    if calibration is None:
        calibration = np.empty((0, 1, 1, 1), np.uint8)
    image = 4 * largest(trunk.model, steps(trunk.model)) * _STREAMS
    most = max(_FEWEST, min(USED, _BYTES // image))
    count = min(len(calibration), most)
    unseen = count // 3 if count > 2 else count - 1
    images = _normalised(trunk, calibration[:count])
    return images[: count - unseen], images[count - unseen :]


def _normalised(trunk: Trunk, images: NDArray[Any]) -> NDArray[np.float32]:
    spec = trunk.backbone.input
    return np.asarray((images.astype(np.float32) - spec.mean) / spec.std, np.float32)


def _equalised(trunk: Trunk, seen: NDArray[np.float32]) -> Weights:
    spec = trunk.backbone.input
    return equalise(trunk.model, seen, _normalised(trunk, noise_images(spec.height, spec.width, spec.channels)))
