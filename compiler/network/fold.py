"""Fold: rebuild a Keras network flat and plain, as every later step wants it.

Models inside the model are laid open, batch norms become part of the layer before them, layers that
do nothing at inference go, and a normalisation at the input becomes part of the input's contract. The
model that is given stays as it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.records import InputSpec
from tlc_edge.compiler.weights.derived import derive_state
from tlc_edge.runtime.errors import BuildError, first_line

from .arithmetic import Map, through
from .layers import functional
from .normalise import NAME, normalise, presence, take_in, widen
from .pixels import Pixels, input_spec

Arrays = list[NDArray[Any]]

# Identity at inference. Other augmentation layers (a random crop, AutoContrast) still change the image then.
_IDLE = frozenset(
    {
        "Dropout", "SpatialDropout1D", "SpatialDropout2D", "AlphaDropout", "GaussianDropout", "GaussianNoise",
        "ActivityRegularization", "Identity", "RandomFlip", "RandomRotation", "RandomZoom", "RandomTranslation",
        "RandomContrast", "RandomBrightness", "RandomShear", "RandomHue", "RandomSaturation", "RandomGrayscale",
        "RandomSharpness", "RandomPosterization", "RandomInvert", "RandomErasing", "RandomColorJitter",
        "RandomColorDegeneration", "RandomGaussianBlur", "RandomPerspective", "RandomElasticTransform",
        "RandAugment", "AugMix", "MixUp", "CutMix", "Solarization",
    }
)  # fmt: skip
_CONVS = frozenset({"Conv2D", "DepthwiseConv2D", "SeparableConv2D", "Conv2DTranspose", "Dense"})


@dataclass(frozen=True, eq=False)
class Folded:
    """A network rebuilt: `model` takes pixels normalised as `input` says."""

    model: Any
    input: InputSpec
    merged: Mapping[str, str]
    """Layers that became part of another one, and which."""


@dataclass(eq=False)
class _Wire:
    """A tensor while the network is only being looked at."""

    source: Any = None
    readers: list[Any] = field(default_factory=list[Any])
    image: Map | None = None
    """What it is of the image, where that is arithmetic alone."""


_OURS = ("image", NAME)  # names of layers that a rebuilt network may have before any of its own


@dataclass(frozen=True, eq=False)
class _Plan:
    norms: dict[int, Any]
    """id of a batch norm: the layer it goes into."""
    convs: dict[int, Any]
    """The other way round: id of the layer, its batch norm."""
    leading: frozenset[int]
    """ids of the normalising layers between the input and everything else."""
    pixels: Pixels
    """What the input normalisation is with those layers taken in."""
    first: Any
    """The convolution that alone reads the normalised image; None where there is no such."""
    padded: bool
    """It reads zeros around that image."""


@dataclass(frozen=True)
class _Intake:
    """A map for each channel that goes into the first convolution; see `normalise`."""

    pixels: Pixels
    value: float | None


def fold(model: Any, pixels: Pixels, size: tuple[int, int] | None = None) -> Folded:
    """Rebuild `model`, a functional or sequential Keras model with one image input [N, H, W, C].

    `size` is the height and width of the new model's input; by default the given model's own.

    Raises:
        BuildError: a layer cannot be rebuilt, or not at that size.
    """
    from keras import Input, Model

    graph = functional(model)
    shape = graph.inputs[0].shape
    height, width = size or (int(shape[1]), int(shape[2]))
    channels = int(shape[3])
    plan = _plan(graph, pixels)
    spec, rest = input_spec(plan.pixels, height, width, channels)

    image = start = Input((height, width, channels), name="image")
    intake: _Intake | None = None
    if rest is not None:
        value = presence(rest, spec) if plan.padded else None
        if plan.first is None or (plan.padded and value is None):
            start = normalise(image, rest, channels)
        else:
            start = image if value is None else widen(image, value)
            intake = _Intake(rest, value)
    made = _Rebuilt(plan, intake)
    output = replay(graph, [start], made.call)
    if len(output) != 1:
        ends = [tensor._keras_history.operation.name for tensor in graph.outputs]
        raise BuildError(
            f"the network has {len(output)} outputs ({', '.join(ends)}), expected one; keep one, or a layer before "
            f'they part, and save that: keras.Model(m.input, m.get_layer("{ends[0]}").output).save("one.keras")'
        )
    if output[0].shape[0] is not None:
        raise BuildError(
            f"the network takes {output[0].shape[0]} images at a time, and no other number: a layer in it, such as a "
            "Reshape, says so; save it with None there, or -1"
        )
    rebuilt = Model(image, output[0], name="backbone")
    made.set_weights()
    return Folded(rebuilt, spec, made.merged)


def replay(model: Any, inputs: list[Any], call: Callable[[Any, Any, Any], Any]) -> list[Any]:
    """Run through a model's graph, with `call(layer, args, kwargs)` for each layer of it and of models in it."""
    from keras import Model, tree

    def visit(operation: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(operation, Model):
            inner = functional(operation)
            if not hasattr(inner, "_run_through_graph"):
                raise BuildError(f"{operation.name} is a model with code of its own; save it as a SavedModel instead")
            outputs = replay(inner, tree.flatten(args), call)
            return outputs[0] if len(outputs) == 1 else outputs
        return call(operation, args, {k: v for k, v in kwargs.items() if k not in ("training", "mask")})

    # Keras' own clone_model walks this way; there is no public name for it.
    return list(tree.flatten(model._run_through_graph(inputs, call_fn=visit)))


def _plan(graph: Any, pixels: Pixels) -> _Plan:
    """Decide what is folded into what, without touching any layer."""
    from keras import tree

    uses: Counter[int] = Counter()
    outputs_of: dict[int, _Wire] = {}
    norms: list[tuple[Any, _Wire]] = []

    def look(layer: Any, args: Any, kwargs: Any) -> _Wire | list[_Wire]:
        wires = [w for w in tree.flatten((args, kwargs)) if isinstance(w, _Wire)]
        if idle(layer) and len(wires) == 1:
            return wires[0]
        uses[id(layer)] += 1
        for wire in wires:
            wire.readers.append(layer)
        if type(layer).__name__ == "BatchNormalization":
            norms.append((layer, wires[0]))
        image = through(layer, args, kwargs, _image) if wires and all(w.image for w in wires) else None
        given = outputs_of.setdefault(id(layer), _Wire(layer, image=image))
        count = len(layer._inbound_nodes[0].outputs)
        return given if count == 1 else [given] * count

    edge = start = _Wire(image=Map.identity(int(graph.inputs[0].shape[3])))
    outputs = replay(graph, [start], look)
    edge, leading = _edge(start, outputs_of, outputs, uses)
    taken = None if edge.image is None else edge.image.after(pixels)
    if taken is None:
        edge, leading = start, set()
    else:
        pixels = taken

    into: dict[int, Any] = {}
    back: dict[int, Any] = {}
    for norm, wire in norms:
        conv = wire.source
        fits = conv is not None and type(conv).__name__ in _CONVS and _linear(conv) and _on_channels(norm)
        alone = len(wire.readers) == 1 and uses[id(norm)] == 1 and uses[id(conv)] == 1
        if fits and alone and wire not in outputs:
            into[id(norm)], back[id(conv)] = conv, norm
    sole = {id(w): w.readers[0] for w in (edge, *outputs_of.values()) if len(w.readers) == 1 and w not in outputs}
    first: Any = sole.get(id(edge))
    padded = type(first).__name__ == "ZeroPadding2D"
    if padded:
        first = sole.get(id(outputs_of[id(first)])) if uses[id(first)] == 1 else None
    if type(first).__name__ != "Conv2D" or uses[id(first)] > 1 or first.groups > 1:
        first = None
    else:
        padded = padded or first.padding == "same"
    return _Plan(into, back, frozenset(leading), pixels, first, padded)


def _image(value: Any) -> Map | None:
    return value.image if isinstance(value, _Wire) else None


def _edge(
    start: _Wire, outputs_of: Mapping[int, _Wire], outputs: Sequence[Any], uses: Mapping[int, int]
) -> tuple[_Wire, set[int]]:
    """Return the one tensor through which the image goes into the network, and the ids of the layers before it."""
    arithmetic = {key for key, wire in outputs_of.items() if wire.image is not None}
    wires = [start, *(outputs_of[key] for key in arithmetic)]
    ends = [w for w in wires if any(id(r) not in arithmetic for r in w.readers)]
    alone = len(ends) == 1 and not any(w is o for w in wires for o in outputs)
    if not alone or any(uses[key] > 1 for key in arithmetic):
        return start, set()
    return ends[0], arithmetic


def idle(layer: Any) -> bool:
    """Return whether a layer does nothing at inference."""
    name = type(layer).__name__
    return name in _IDLE or (name == "Activation" and _linear(layer))


def _linear(layer: Any) -> bool:
    from keras import activations

    return getattr(layer, "activation", None) in (None, activations.linear)


def _on_channels(norm: Any) -> bool:
    return norm.axis in (-1, norm.input_spec.ndim - 1)


class _Rebuilt:
    """The new layers, made as the given network is run through."""

    def __init__(self, plan: _Plan, intake: _Intake | None) -> None:
        self.merged: dict[str, str] = {}
        self._plan = plan
        self._intake = {} if intake is None else {id(plan.first): intake}
        self._layers: dict[int, tuple[Any, Any]] = {}  # id of the given layer: it, and the new one
        self._names: Counter[str] = Counter(_OURS)

    def call(self, layer: Any, args: Any, kwargs: Any) -> Any:
        from keras import KerasTensor, tree

        if idle(layer):
            if layer.name in _OURS:  # who asks for it must not get ours
                self.merged.setdefault(layer.name, args[0]._keras_history.operation.name)
            return args[0]
        if id(layer) in self._plan.leading:
            self.merged[layer.name] = "image"
            return next(t for t in tree.flatten((args, kwargs)) if isinstance(t, KerasTensor))
        if id(layer) in self._plan.norms:
            into = self._plan.norms[id(layer)]
            self.merged[layer.name] = self._layers[id(into)][1].name
            return args[0]
        if id(layer) not in self._layers:
            self._layers[id(layer)] = layer, self._clone(layer, args)
        new = self._layers[id(layer)][1]
        try:
            return new(*args, **kwargs)
        except Exception as e:  # Keras raises whatever its backend does for shapes that do not fit
            raise BuildError(f"layer {layer.name} cannot be rebuilt for this input ({first_line(e)})") from None

    def _clone(self, layer: Any, args: Any) -> Any:
        _check_plain(layer)
        config = {k: v for k, v in layer.get_config().items() if k not in ("lora_rank", "lora_alpha")}
        if type(layer).__name__ == "EinsumDense":
            config["output_shape"] = _settled(config, args)
        self._names[layer.name] += 1
        count = self._names[layer.name]
        config["name"] = layer.name if count == 1 else f"{layer.name}_{count}"
        if layer.name in _OURS:  # who asks for the file's layer of that name must not get ours
            self.merged.setdefault(layer.name, config["name"])
        if "dtype" in config:
            config["dtype"] = "float32"
        if id(layer) in self._plan.convs or id(layer) in self._intake:
            config["use_bias"] = True
        try:
            return type(layer).from_config(config)
        except Exception as e:
            raise BuildError(
                f"layer {layer.name} ({type(layer).__name__}) cannot be rebuilt from its configuration "
                f"({first_line(e)}); "
                "give its class a get_config, or save the network as a SavedModel and name that folder"
            ) from None

    def set_weights(self) -> None:
        for given, new in self._layers.values():
            if not hasattr(given, "get_weights"):
                continue
            norm = self._plan.convs.get(id(given))
            weights = _weights(given) if norm is None else _folded(given, norm)
            intake = self._intake.get(id(given))
            if intake is not None:
                kernel, bias = weights if len(weights) == 2 else (weights[0], np.zeros(weights[0].shape[-1]))
                weights = list(take_in(kernel, bias, intake.pixels, intake.value))
            try:
                new.set_weights(weights)
            except ValueError:
                shapes = ", ".join(str(list(w.shape)) for w in new.get_weights())
                raise BuildError(
                    f"layer {new.name} needs weights {shapes} for this input, the network has "
                    f"{', '.join(str(list(w.shape)) for w in weights)}; leave --input-size to the network, "
                    "or cut before that layer reads the whole image"
                ) from None
            derive_state(new)


def _settled(config: Any, args: Any) -> Any:
    """Return the shape that an EinsumDense gives, with what it leaves open (None) as its input has it."""
    reads, _, gives = config["equation"].partition("->")
    letters, given = gives.strip().lstrip("."), reads.partition(",")[0].strip().lstrip(".")
    shape = config["output_shape"]
    sizes = dict(zip(reversed(given), reversed(args[0].shape), strict=False))
    if isinstance(shape, int) or None not in shape:
        return shape
    ends = reversed(list(zip(reversed(shape), reversed(letters), strict=False)))
    settled = tuple(sizes.get(letter) if size is None else size for size, letter in ends)
    return settled if len(settled) == len(shape) else shape


def _check_plain(layer: Any) -> None:
    """Check that a layer's weights are what it computes with.

    Raises:
        BuildError: they are rounded already, or what was trained beside them lies in a layer within it.
    """
    for part in layer._flatten_layers() if hasattr(layer, "_flatten_layers") else ():
        mode = getattr(part, "quantization_mode", None)
        if mode:
            raise BuildError(
                f"layer {layer.name} is quantized already ({mode}, by quantize() of Keras); give the network as it was "
                "before that: a build finds its ranges for int8 itself"
            )
        if part is not layer and getattr(part, "lora_enabled", False):
            raise BuildError(
                f"layer {layer.name} has a layer with LoRA within it; save the network after its weights were merged"
            )


def _weights(layer: Any) -> Arrays:
    """Return a layer's weights in their order; what LoRA added to its kernel is in it."""
    if not getattr(layer, "lora_enabled", False):
        return list(layer.get_weights())
    return [np.asarray(layer.kernel), *([np.asarray(layer.bias)] if layer.bias is not None else [])]


def _folded(conv: Any, norm: Any) -> Arrays:
    """Return the weights of `conv` with the affine map of `norm` in them; computed in double precision."""
    weights = [w.astype(np.float64) for w in _weights(conv)]
    mean, variance = (np.asarray(v, np.float64) for v in (norm.moving_mean, norm.moving_variance))
    factor = 1 / np.sqrt(variance + norm.epsilon)
    if norm.scale:
        factor = factor * np.asarray(norm.gamma, np.float64)
    bias = weights.pop() if conv.use_bias else np.zeros_like(mean)
    bias = (bias - mean) * factor + (np.asarray(norm.beta, np.float64) if norm.center else 0.0)
    kernel = weights[-1]  # of a separable convolution: the pointwise one
    kind = type(conv).__name__
    if kind == "DepthwiseConv2D":
        weights[-1] = kernel * factor.reshape(kernel.shape[2:])
    elif kind == "Conv2DTranspose":
        weights[-1] = kernel * factor[:, None]
    else:
        weights[-1] = kernel * factor
    return [w.astype(np.float32) for w in (*weights, bias)]
