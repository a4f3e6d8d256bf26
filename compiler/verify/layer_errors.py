"""Layer by layer: how far a quantized file is from the float one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.records import Floats

from .layer_values import Layer, LayerValues, open_layers, sampled

EXACT = 99.0
"""dB that stand for no error at all, and the most that is told."""


SCALED = 1.25
"""Two layers are not one if the second is the first, times a factor this far from 1 or farther, and little else.

Rounding adds noise; it does not multiply. In the trunks of EfficientNet-Lite0 and an untrained MobileNetV3-Small, in
all TFLite schemes and int8 ONNX, the least-squares factor of a layer that rounding left in order was 0.978 to 1.011.
What was taken for it by mistake gives 0.5 or 2 (a hard swish, and what it reads), 1/6 (the last step of one) or 128
(pixels before and after they are normalised)."""
_COPY = 0.99
"""The least cosine of a scaled copy. A layer that rounding has spoiled can have any factor, down to 0 where it gives
nothing but zeros, but not the direction of the float one: the spoiled layers of that MobileNetV3 had at most 0.86."""


@dataclass(frozen=True)
class LayerError:
    """How far one layer's output is from the float file's, as it comes out of the quantized layers before it."""

    name: str
    operation: str
    snr: float
    """Signal to noise in dB: 10 log10 of the float values' energy over that of the difference; -99 to 99."""
    cosine: float
    """Mean over the images of the cosine of the layer's whole output to the float one."""
    added: float
    """The noise that came in with this layer, as a share of its signal: its own noise to signal, less the largest among
    the layers that it reads; not below 0."""
    tensor: str
    """The name by which converters can be told to leave it in float32."""


def measure_layers(
    float_file: tuple[bytes, str], quantized: tuple[bytes, str], images: NDArray[np.uint8]
) -> tuple[LayerError, ...]:
    """Compare the layers of two files, each given with its format, over images [N, H, W, C]; in the network's order.

    The files may differ in format: layers are matched in their order, by shape and what they give. Those that only one
    of the files has are left out, as an activation that the other merged with its convolution.
    """
    reference, judged = open_layers(*float_file), open_layers(*quantized)
    pairs = match_layers(reference, judged, images[0])
    signal, noise, cosine = (np.zeros(len(pairs)) for _ in range(3))
    for image in images:
        wanted, found = reference.run(image), judged.run(image)
        for p, (i, j) in enumerate(pairs):
            a, b = wanted[i].reshape(-1), found[j].reshape(-1)
            # Sums, not dot products: those wake one thread per core, which wait for one another on a busy machine.
            energy, other, product = (float((x * y).sum(dtype=np.float64)) for x, y in ((a, a), (b, b), (a, b)))
            signal[p] += energy
            noise[p] += float(np.square(a - b).sum(dtype=np.float64))
            cosine[p] += 1.0 if energy == other == 0 else product / max(np.sqrt(energy * other), 1e-30)
    share = np.divide(noise, signal, out=np.where(noise > 0, np.inf, 0.0), where=signal > 0)  # of noise in the signal
    place = {j: p for p, (_, j) in enumerate(pairs)}
    errors: list[LayerError] = []
    for p, (i, j) in enumerate(pairs):
        layer = judged.layers[j]
        # TFLite's tensors are named after layers; ONNX nodes are only numbered.
        name = reference.layers[i].name if float_file[1] == "tflite" else layer.name
        added = max(0.0, float(share[p]) - _before(judged.layers, j, place, share))
        snr = float(np.clip(-10 * np.log10(max(float(share[p]), 1e-300)), -EXACT, EXACT))
        errors.append(LayerError(name, layer.operation, snr, float(cosine[p]) / len(images), added, layer.tensor))
    return tuple(errors)


def worst_first(errors: Sequence[LayerError]) -> list[LayerError]:
    """Return the layers by their signal to noise, the noisiest first."""
    return sorted(errors, key=lambda e: (e.snr, e.cosine))


def _before(layers: Sequence[Layer], j: int, place: dict[int, int], share: NDArray[np.float64]) -> float:
    """Return the largest share of noise among the layers that layer `j` reads, past those that were not matched."""
    found = [float(share[place[i]]) if i in place else _before(layers, i, place, share) for i in layers[j].inputs]
    return max(found, default=0.0)


def match_layers(reference: LayerValues, judged: LayerValues, image: NDArray[np.uint8]) -> list[tuple[int, int]]:
    """Return the pairs of layers that give the same thing, in order: the alignment with the highest sum of scores.

    By dynamic programming (Needleman and Wunsch 1970). A pair of one shape scores 1, plus how alike the two are for
    `image` in direction and size; where that does not decide, the name does. One that is a scaled copy of the other is
    another layer, unless both have one name.
    """
    left, right = reference.run(image), judged.run(image)
    scores = np.zeros((len(left), len(right)))
    vectors = list(sampled(left)), list(sampled(right))
    for i, a in enumerate(left):
        for j, b in enumerate(right):
            if a.squeeze().shape == b.squeeze().shape:
                same = reference.layers[i].tensor == judged.layers[j].tensor
                scores[i, j] = _alike(vectors[0][i], vectors[1][j], same)
    best = np.zeros((len(left) + 1, len(right) + 1))
    for i in range(len(left)):
        for j in range(len(right)):
            matched = best[i, j] + scores[i, j] if scores[i, j] else 0.0
            best[i + 1, j + 1] = max(matched, best[i, j + 1], best[i + 1, j])
    pairs: list[tuple[int, int]] = []
    i, j = len(left), len(right)
    while i and j:
        if scores[i - 1, j - 1] and best[i, j] == best[i - 1, j - 1] + scores[i - 1, j - 1]:
            i, j = i - 1, j - 1
            pairs.append((i, j))
        elif best[i, j] == best[i - 1, j]:
            i -= 1
        else:
            j -= 1
    return pairs[::-1]


def _alike(a: Floats, b: Floats, same_name: bool) -> float:
    """Return the score of a pair, 1 to 2.01; 0 where it is none."""
    own, other, product = (float((x * y).sum(dtype=np.float64)) for x, y in ((a, a), (b, b), (a, b)))
    if not own + other:
        return 2 + 0.01 * same_name
    copy = product > _COPY * np.sqrt(own * other)
    if copy and not same_name and not 1 / SCALED < product / own < SCALED:
        return 0.0
    return 1 + max(0.0, 2 * product / (own + other)) + 0.01 * same_name
