"""Bias correction: what rounding shifts in each channel of each layer, its bias takes back.

After Nagel et al. 2019, Data-Free Quantization, section 4.2, but with images: what a ReLU hands on is never negative,
so the rounding error of a weight times its mean input is a constant; the next ReLU makes more of it, and no later
layer can undo that. So layer by layer, in the network's order, over a few images: the float network beside one with
rounded weights (and activations, where the scheme rounds them), and each bias takes what brings its channel's mean to
float's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.network.walk import Step, Values, Weights, is_relu, readers, start, steps

from .weight_grid import KINDS, on_grid, with_bias

Rounding = Callable[[Any], Any]
_Floats64 = NDArray[np.float64]

_ROUNDS = 3
_STEEPEST = 0.1
"""An activation's mean slope is taken for at least this: where next to nothing passes, a step must not run away."""

_ACTIVATIONS = frozenset(
    {
        "ReLU", "LeakyReLU", "ELU", "Activation",
        "Relu", "Relu6", "LeakyRelu", "Elu", "Selu", "Silu", "HardSilu", "Sigmoid", "HardSigmoid", "Gelu", "Tanh",
        "Softplus",
    }
)  # fmt: skip
"""Layers and operations that map each number by itself."""
_WEIGHTED = frozenset({"BatchNormalization", "Normalization", "PReLU"})
"""Layers that have numbers, none of them rounded output channel by output channel."""
_AS_THEY_ARE = frozenset(
    {
        "ZeroPadding2D", "Cropping2D", "MaxPooling2D", "GlobalMaxPooling2D", "UpSampling2D", "Flatten", "Reshape",
        "Permute", "FurtherChannel", "Pad", "Transpose",
    }
)  # fmt: skip
"""They hand on what they read, rounded as it is."""


@dataclass(frozen=True, eq=False)
class Corrected:
    """Weights on the int8 grid with corrected biases, and what they are worth on images that did not set them."""

    weights: Weights
    noise: float
    """Squared distance of the rounded network's features to float's, as a share of the features' variance."""
    plain: float
    """The same without the correction."""
    cosine: float
    """Mean cosine of the rounded network's features to float's."""
    plain_cosine: float
    """The same without the correction."""


def can_correct(model: Any) -> bool:
    """Return whether every number in a network belongs to a layer that is known here."""
    found = steps(model)
    for step in found:
        count = step.layer.count_params() if hasattr(step.layer, "count_params") else 0
        if count and step.kind not in KINDS | _WEIGHTED:
            return False
        if getattr(step.layer, "data_format", "channels_last") != "channels_last":
            return False
    return any(step.kind in KINDS for step in found)


def correct_biases(
    model: Any,
    weights: Weights,
    seen: NDArray[np.float32],
    unseen: NDArray[np.float32],
    activations: bool,
) -> Corrected:
    """Round a network's weights and correct its biases.

    Args:
        model: a flat functional model that `can_correct`; it stays as it is.
        weights: what some of its layers have in place of their own weights.
        seen: normalised images [N, H, W, C] that set the biases.
        unseen: others, that judge.
        activations: between the layers numbers are rounded to 8 bits as well.
    """
    import tensorflow as tf

    found = steps(model)
    both = tf.constant(np.concatenate([seen, unseen]))
    streams = _Streams(len(seen), start(model, both), start(model, both), start(model, both[len(seen) :]), activations)
    uses = Counter(id(step.layer) for step in found)
    following = _followed(model, found)
    made: dict[str, list[NDArray[np.float32]]] = {}
    for step in found:
        if step.kind not in KINDS:
            streams.run(step)
            continue
        name, alone = step.layer.name, uses[id(step.layer)] == 1
        own = with_bias(step.layer, weights.get(name, step.layer.get_weights()))
        corrected = _correct_layer(step, own, following.get(step.outputs[0]), streams, alone)
        if alone:
            made[name] = corrected
    return streams.judged(id(model.outputs[0]), made)


@dataclass(frozen=True, eq=False)
class _Streams:
    """The network's three runs side by side."""

    seen: int
    floats: Values
    corrected: Values
    plain: Values
    """Rounded, not corrected; unseen images only."""
    activations: bool

    def judged(self, final: int, weights: Weights) -> Corrected:
        """Return the weights with what the features, the tensor of id `final`, say about them."""
        floats, corrected, plain = (
            np.asarray(values[final], np.float64) for values in (self.floats, self.corrected, self.plain)
        )
        variance = max(float(np.square(floats - floats.mean(axis=0)).mean(axis=0).sum()), 1e-30)

        floats, corrected = floats[self.seen :], corrected[self.seen :]

        def noise(features: _Floats64) -> float:
            return float(np.square(features - floats).mean(axis=0).sum()) / variance

        return Corrected(weights, noise(corrected), noise(plain), _cosine(corrected, floats), _cosine(plain, floats))

    def run(self, step: Step) -> None:
        """Run a step without weights to round."""
        given = step.run(self.floats)
        rounding = exactly if len(step.outputs) > 1 or step.kind in _AS_THEY_ARE else self.rounding(given)
        for values in (self.corrected, self.plain):
            step.keep(values, rounding(step.run(values)))
        step.keep(self.floats, given)

    def rounding(self, floats: Any) -> Rounding:
        """Return what int8 does to an activation whose range is that of `floats` over the seen images."""
        import tensorflow as tf

        if not self.activations:
            return exactly
        low, high = (float(f(floats[: self.seen])) for f in (tf.reduce_min, tf.reduce_max))
        low, high = min(low, 0.0), max(high, 0.0)
        if not 1e-20 < high - low < 1e20:
            return exactly
        return lambda x: tf.quantization.fake_quant_with_min_max_args(x, low, high)


def exactly(x: Any) -> Any:
    """Return what is given: no rounding."""
    return x


@dataclass(frozen=True)
class _Follower:
    """The activation after a layer's sums."""

    apply: Callable[[Any], Any]
    fused: bool
    """It is part of the layer on the device: the sums before it are not rounded."""
    own: bool
    """It is part of the layer in Keras, too."""


def _followed(model: Any, found: Sequence[Step]) -> dict[int, _Follower]:
    """Return the activations of the layers that have one, by the id of what the layer gives."""
    from keras import activations

    reading = readers(found)
    ends = {id(tensor) for tensor in model.outputs}
    followers: dict[int, _Follower] = {}
    for step in found:
        if step.kind not in KINDS:
            continue
        key = step.outputs[0]
        own = getattr(step.layer, "activation", None)
        if own not in (None, activations.linear):
            followers[key] = _Follower(own, own in (activations.relu, activations.relu6), True)
            continue
        after = reading.get(key, [])
        if len(after) == 1 and key not in ends and _elementwise(after[0]):
            followers[key] = _Follower(after[0].layer, is_relu(after[0]), False)
    return followers


def _elementwise(step: Step) -> bool:
    if step.kind not in _ACTIVATIONS:
        return False
    return getattr(getattr(step.layer, "activation", None), "__name__", "") not in ("softmax", "log_softmax")


def _correct_layer(
    step: Step, own: list[NDArray[np.float32]], follower: _Follower | None, streams: _Streams, alone: bool
) -> list[NDArray[np.float32]]:
    """Run a layer with weights; return them rounded, with the corrected bias (as it was, where it is not `alone`)."""
    import tensorflow as tf

    layer = _bare(step, own)
    floats = layer(streams.floats[step.inputs[0]])
    bias = own[-1]
    rounded = [*on_grid(step.kind, own), bias]
    layer.set_weights(rounded)
    sums, plain = (layer(values[step.inputs[0]]) for values in (streams.corrected, streams.plain))
    before = exactly if follower is not None and follower.fused else streams.rounding(floats)
    if alone:
        shift = _shift(floats, sums, follower, before, streams)
        bias = np.asarray(bias + shift, np.float32)
        sums = sums + tf.constant(bias - own[-1])
    sums, plain = before(sums), before(plain)
    if follower is not None and follower.own:
        floats, sums, plain = (follower.apply(x) for x in (floats, sums, plain))
        after = streams.rounding(floats)
        sums, plain = after(sums), after(plain)
    for values, given in ((streams.floats, floats), (streams.corrected, sums), (streams.plain, plain)):
        step.keep(values, given)
    return [*rounded[:-1], bias]


def _shift(floats: Any, sums: Any, follower: _Follower | None, before: Rounding, streams: _Streams) -> _Floats64:
    """Return what brings each channel of the rounded `sums` to float's mean, after the activation if there is one."""
    floats, sums = floats[: streams.seen], sums[: streams.seen]
    if follower is None:
        return _means(floats) - _means(before(sums))
    given = follower.apply(floats)
    return _find_shift(sums, _means(given), before, follower.apply, streams.rounding(given))


def _bare(step: Step, weights: Sequence[NDArray[np.float32]]) -> Any:
    """Return a step's layer with a bias and without its activation."""
    config = {**step.layer.get_config(), "activation": "linear", "use_bias": True}
    layer = type(step.layer).from_config(config)
    layer.build(step.shapes[0])
    layer.set_weights(list(weights))
    return layer


def _find_shift(
    sums: Any, target: _Floats64, before: Rounding, activation: Callable[[Any], Any], after: Rounding
) -> _Floats64:
    """Return what to add to each channel's sums so that its mean after the activation comes to `target`.

    By Newton's method, with the activation's mean slope: for a ReLU6 that is the share of positions inside its range.
    Each channel keeps the best of what was tried.
    """
    import tensorflow as tf

    shift = np.zeros_like(target)
    best, least = shift, np.full_like(target, np.inf)
    for i in range(_ROUNDS + 1):
        with tf.GradientTape() as tape:
            x = before(sums + tf.constant(shift, tf.float32))
            tape.watch(x)
            y = activation(x)
        missing = target - _means(after(y))
        best = np.where(np.abs(missing) < least, shift, best)
        least = np.minimum(np.abs(missing), least)
        if i < _ROUNDS:
            slope = _means(tape.gradient(y, x))
            shift = shift + np.where(slope > 0, missing / np.maximum(slope, _STEEPEST), 0.0)
    return best


def _cosine(a: _Floats64, b: _Floats64) -> float:
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return float(np.mean((a * b).sum(axis=1) / np.maximum(lengths, 1e-30)))


def _means(x: Any) -> _Floats64:
    """Return the mean of each channel [C]."""
    import tensorflow as tf

    return np.asarray(tf.reduce_mean(x, axis=list(range(len(x.shape) - 1))), np.float64)
