"""Adopt: make a backbone of any Keras network that takes one image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tlc_edge.compiler.network.arithmetic import Map
from tlc_edge.compiler.network.begins import begins
from tlc_edge.compiler.network.fold import fold
from tlc_edge.compiler.network.layers import Node, nodes
from tlc_edge.compiler.network.pixels import PIXELS, Pixels, check_channels, fits_channels
from tlc_edge.compiler.options import Asked
from tlc_edge.compiler.records import Backbone, Classifier, OwnHead, Provenance, Restored
from tlc_edge.compiler.weights.extent import check_tensors
from tlc_edge.runtime.errors import BuildError

from .own_head import own_head
from .shave import cannot_cut
from .unrestored import untrained

# Where neither the network nor the user says it.
USUAL_SIZE = (224, 224)

_SHAPING = frozenset({"Flatten", "Reshape", "Activation", "Softmax"})
_AFTER_PLACES = _SHAPING | {
    "GlobalAveragePooling2D",
    "AveragePooling2D",
    "GlobalMaxPooling2D",
    "ReLU",
    "BatchNormalization",
}
_POOLS = {"GlobalAveragePooling2D": "avg", "GlobalMaxPooling2D": "max", "Flatten": "flatten"}

# What makes something new of places that were flattened, a dense layer's worth each; attention has four.
_MIXING = {"MultiHeadAttention": 4, "GroupedQueryAttention": 4, "Attention": 2, "AdditiveAttention": 2} | dict.fromkeys(
    ("Matmul", "Einsum", "Dot", "LSTM", "GRU", "Bidirectional", "Conv1D"), 1
)
_MULTIPLYING = {**_MIXING, "Dense": 1, "EinsumDense": 1}
_FEW = 3

# Names of keras.applications, those that contain another first, and what they were trained on.
_BY_NAME = (
    ("mobilenetv3", "0..255"),
    ("mobilenet", "-1..1"),
    ("efficientnet", "0..255"),
    ("convnext", "0..255"),
    ("resnetv2", "-1..1"),
    ("resnet50v2", "-1..1"),
    ("resnet101v2", "-1..1"),
    ("resnet152v2", "-1..1"),
    ("resnet", "caffe"),
    ("vgg", "caffe"),
    ("densenet", "imagenet"),
    ("inception", "-1..1"),
    ("xception", "-1..1"),
    ("nasnet", "-1..1"),
)


def adopt(
    name: str,
    model: Any,
    asked: Asked,
    provenance: Provenance,
    *,
    pixels: str | None = None,
    restored: Sequence[Restored] = (),
    notes: Sequence[str] = (),
) -> Backbone:
    """Fold `model`, find its last feature map and its classifier, and leave the classifier off.

    `pixels` says what it was trained on, one of PIXELS, where that is known; else `asked` does, or its looks.

    Raises:
        BuildError: it does not take exactly one image, or not of this size.
    """
    native, size = input_size(name, model), asked.input_size
    pixels, assumed = _taken(name, model, native, asked, pixels)
    folded = fold(model, PIXELS[pixels], native or size or USUAL_SIZE)
    check_tensors(folded.model, name)
    rows = nodes(folded.model)
    end = _classifier(rows)
    last = rows[-1] if end is None else _named(rows, end.inputs[0])
    features, far = _features(rows, last)
    # Logits without a softmax may be an embedding as well as a classifier: those stay, and can be cut at.
    whole = end is None or not _gives_probabilities(rows, end)
    resized = native is not None and size is not None and size != native
    # At another size only what is convolutional can stay: a layer that reads the whole image has its size.
    kept = _until(folded.model, features) if resized else folded.model if whole else _until(folded.model, last)
    names = {step.name for step in kept.operations}
    removed = tuple(r.name for r in rows if r.name not in names)
    spec = folded.input
    if resized:
        again = fold(kept, Pixels((1 / spec.std,), (-spec.mean / spec.std,)), size)
        kept, spec = again.model, again.input
    own, classifier = _classifiers(rows, end, features, resized=resized)
    if untrained(restored) & {*removed, "" if end is None else end.name}:
        own, classifier = "the checkpoint did not give it its weights", None
    return Backbone(
        name=name,
        model=kept,
        input=spec,
        provenance=provenance,
        default_shave=features.name,
        classifier=classifier,
        default_reason=_reason(features, None if end is None else end.name, far=far),
        removed=removed,
        merged=folded.merged,
        restored=tuple(restored),
        notes=(*notes, *assumed),
        own=own,
    )


def _taken(
    name: str, model: Any, native: tuple[int, int] | None, asked: Asked, pixels: str | None
) -> tuple[str, list[str]]:
    """Return what pixels a network takes, and what had to be assumed about its input.

    Raises:
        BuildError: that is not known, or does not fit its channels.
    """
    notes: list[str] = []
    if native is None and asked.input_size is None:
        size = f"{USUAL_SIZE[0]}x{USUAL_SIZE[1]}"
        notes.append(f"{name} leaves its input's size open; {size} was taken (--input-size)")
    pixels = pixels or asked.pixels
    if pixels is None:
        pixels, why = _trained_on(name, model)
        notes.append(f"{name} is taken to have been trained on pixels {pixels}, {why}; say --pixels if not")
    check_channels(name, pixels, int(model.inputs[0].shape[3]))
    return pixels, notes


def _classifiers(
    rows: Sequence[Node], end: Node | None, features: Node, *, resized: bool
) -> tuple[OwnHead | str, Classifier | None]:
    """Return the network's own classifier as a head, or why there is none; and as what the neck is made from."""
    own = own_head(rows, end)
    return _still(own, features) if resized else own, None if end is None else _read(rows, end, features)


def _still(own: OwnHead | str, features: Node) -> OwnHead | str:
    """Return a classifier if it reads what stays of a network at another input size."""
    if isinstance(own, str) or (own.layer == features.name and own.pool != "flatten"):
        return own
    return "at another --input-size its classifier reads another number of values"


def input_size(name: str, model: Any) -> tuple[int, int] | None:
    """Return height and width of the one image that a Keras model takes; None where it leaves them open.

    Raises:
        BuildError: it takes something else.
    """
    inputs: Any = getattr(model, "inputs", None)
    if not inputs:
        raise BuildError(
            f"{name}: {type(model).__name__} is not a functional or sequential Keras network with a known input; "
            "save it as a SavedModel and name that folder"
        )
    if len(inputs) != 1:
        listed = ", ".join(f"{i.name} {list(i.shape[1:])}" for i in inputs)
        raise BuildError(f"{name} takes {len(inputs)} inputs ({listed}), expected one image")
    shape = tuple(inputs[0].shape[1:])
    if len(shape) != 3 or shape[2] not in (1, 3):
        raise BuildError(f"{name} takes {list(shape)}, expected one image [height, width, 1 or 3]")
    return None if None in shape[:2] else (int(shape[0]), int(shape[1]))


def _trained_on(name: str, model: Any) -> tuple[str, str]:
    """Return what a network seems to have been trained on, and the sign of it.

    Raises:
        BuildError: it begins with arithmetic that is no usual normalisation of pixels from 0 to 255.
    """
    begin = begins(model)
    changing = [m for m in begin.maps if not m.idle]
    if begin.unclear or not all(map(normalises, changing)):
        first = f"{begin.unclear[0]}, which" if begin.unclear else "arithmetic on its pixels that"
        raise BuildError(
            f"{name} begins with {first} does not say what pixels it takes; name them, "
            f"--pixels {', '.join(PIXELS)}: what the network is given where it is used, before that"
        )
    if changing:
        return "0..255", "as it begins by normalising them"
    names = [model.name, *(layer.name for layer in model.layers if hasattr(layer, "layers"))]
    channels = int(model.inputs[0].shape[3])
    for name in names:
        plain = name.lower().replace("_", "")
        for part, pixels in _BY_NAME:
            if part in plain and fits_channels(pixels, channels):
                return pixels, f"as Keras' own networks named like {name}"
    grey = channels == 1
    return ("0..1", "as most grey-scale networks") if grey else ("-1..1", "as most networks in colour")


def normalises(image: Map) -> bool:
    """Return whether pixels from 0 to 255 become what networks are trained on: a few units wide, or only centred."""
    low = image.offset + 255 * np.minimum(image.matrix, 0).sum(1)
    high = image.offset + 255 * np.maximum(image.matrix, 0).sum(1)
    width = float((high - low).max())
    centred = width <= 256 and bool((low <= -50).all() and (high >= 50).all())
    return 0.2 <= width <= 32 or centred


def _named(rows: Sequence[Node], name: str) -> Node:
    return next(r for r in rows if r.name == name)


def _classifier(rows: Sequence[Node]) -> Node | None:
    """Return the last layer if it is one that maps a vector to scores, or places to scores that are averaged."""
    return _of_a_vector(rows) or _of_places(rows)


def _of_places(rows: Sequence[Node]) -> Node | None:
    """Return a convolution whose maps, one for each class, are only averaged and made probabilities of after it."""
    node, pooled = rows[-1], False
    while node.kind in _AFTER_PLACES and len(node.inputs) == 1:
        before = _named(rows, node.inputs[0])
        pooled = pooled or (len(before.shape) == 3 and math.prod(before.shape[:2]) > math.prod(node.shape[:-1]) == 1)
        node = before
    fits = node.kind in ("Conv2D", "SeparableConv2D") and pooled and len(node.inputs) == 1
    # A convolution that is averaged, and no more, gives features.
    return node if fits and _gives_probabilities(rows, node) else None


def _of_a_vector(rows: Sequence[Node]) -> Node | None:
    node = rows[-1]
    while node.kind in _SHAPING and len(node.inputs) == 1 and math.prod(node.shape[:-1]) == 1:
        node = _named(rows, node.inputs[0])
    dense = node.kind == "Dense" and len(node.shape) == 1
    point = node.kind == "Conv2D" and node.shape[:2] == (1, 1) and set(node.layer.kernel_size) == {1}
    if (not dense and not point) or len(node.inputs) != 1:
        return None
    before = _named(rows, node.inputs[0])
    return node if math.prod(before.shape[:-1]) == 1 else None


def _gives_probabilities(rows: Sequence[Node], end: Node) -> bool:
    from keras import activations

    after = rows[[r.name for r in rows].index(end.name) :]
    functions = [getattr(r.layer, "activation", None) for r in after]
    return any(r.kind == "Softmax" for r in after) or any(
        f in (activations.softmax, activations.sigmoid, activations.log_softmax) for f in functions
    )


def _features(rows: Sequence[Node], last: Node) -> tuple[Node, bool]:
    """Return where to cut by default: the last feature map of several positions that leads to `last`, else `last`.

    So is `last` where much comes after that map, as in a transformer, whose only map is that of its patches; the
    second value says whether that was why.
    """
    leading = _ancestors(rows, last)
    maps = [r for r in rows[1:] if r.name in leading and len(r.shape) == 3 and math.prod(r.shape[:2]) > 1]
    single = [r for r in maps if len(r.readers) <= 1 and r.uses == 1]
    if not single:
        return last, False
    rest = leading - _ancestors(rows, single[-1])
    far = sum(_MULTIPLYING.get(r.kind, 0) for r in rows if r.name in rest) > _FEW
    if far and any(r.kind in _MIXING for r in rows if r.name in rest) and cannot_cut(last, rows[0].name) is None:
        return last, True
    return single[-1], False


def _ancestors(rows: Sequence[Node], last: Node) -> set[str]:
    """Return the names of a layer and of all that lead to it."""
    found, open_ = {last.name}, [last]
    while open_:
        for name in open_.pop().inputs:
            if name not in found:
                found.add(name)
                open_.append(_named(rows, name))
    return found


def _until(model: Any, last: Node) -> Any:
    from keras import Model

    return Model(model.input, last.layer.output, name=model.name)


def _read(rows: Sequence[Node], end: Node, features: Node) -> Classifier | None:
    """Return the classifier's weights, if all that stands between it and the feature map is a pooling."""
    pool: str | None = None
    node = _named(rows, end.inputs[0])
    while node.name != features.name:
        if pool is None and node.kind in _POOLS and len(_named(rows, node.inputs[0]).shape) == 3:
            before = _named(rows, node.inputs[0])
            pool = _POOLS[node.kind] if math.prod(before.shape[:2]) > 1 else None
        elif node.kind not in _SHAPING:
            return None
        node = _named(rows, node.inputs[0])
    weights = end.layer.get_weights()
    kernel = np.ascontiguousarray(weights[0].reshape(-1, weights[0].shape[-1]), np.float32)
    bias = weights[1] if end.layer.use_bias else np.zeros(kernel.shape[1])
    return None if pool is None else Classifier(kernel, bias.astype(np.float32), pool)


def _reason(features: Node, classifier: str | None, *, far: bool) -> str:
    why = "too much comes after its last feature map" if far else "it has no feature map to cut at"
    kind = "feature map" if len(features.shape) == 3 else f"output: {why}"
    return f"its last {kind}" + (f" before the classifier, {classifier}" if classifier else "")
