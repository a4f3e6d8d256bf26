"""The networks of keras.applications: `keras:NAME`, with the preprocessing that each was trained with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tlc_edge.compiler.options import Asked
from tlc_edge.compiler.records import Backbone, Provenance
from tlc_edge.compiler.weights.derived import derive_state
from tlc_edge.compiler.weights.keras_weights import load_weights
from tlc_edge.compiler.weights.pins import arrays_sha256, file_sha256
from tlc_edge.runtime.errors import BuildError, UsageError, first_line, unknown_name
from tlc_edge.runtime.quiet import quiet

from .adopt import adopt
from .refuse import refuse

PREFIX = "keras:"

# name: input size, what it was trained on. Those with 0..255 normalise inside.
APPLICATIONS: dict[str, tuple[int, str]] = {
    "ConvNeXtTiny": (224, "0..255"),
    "ConvNeXtSmall": (224, "0..255"),
    "ConvNeXtBase": (224, "0..255"),
    "ConvNeXtLarge": (224, "0..255"),
    "ConvNeXtXLarge": (224, "0..255"),
    "DenseNet121": (224, "imagenet"),
    "DenseNet169": (224, "imagenet"),
    "DenseNet201": (224, "imagenet"),
    "EfficientNetB0": (224, "0..255"),
    "EfficientNetB1": (240, "0..255"),
    "EfficientNetB2": (260, "0..255"),
    "EfficientNetB3": (300, "0..255"),
    "EfficientNetB4": (380, "0..255"),
    "EfficientNetB5": (456, "0..255"),
    "EfficientNetB6": (528, "0..255"),
    "EfficientNetB7": (600, "0..255"),
    "EfficientNetV2B0": (224, "0..255"),
    "EfficientNetV2B1": (240, "0..255"),
    "EfficientNetV2B2": (260, "0..255"),
    "EfficientNetV2B3": (300, "0..255"),
    "EfficientNetV2S": (384, "0..255"),
    "EfficientNetV2M": (480, "0..255"),
    "EfficientNetV2L": (480, "0..255"),
    "InceptionResNetV2": (299, "-1..1"),
    "InceptionV3": (299, "-1..1"),
    "MobileNet": (224, "-1..1"),
    "MobileNetV2": (224, "-1..1"),
    "MobileNetV3Large": (224, "0..255"),
    "MobileNetV3Small": (224, "0..255"),
    "NASNetLarge": (331, "-1..1"),
    "NASNetMobile": (224, "-1..1"),
    "ResNet50": (224, "caffe"),
    "ResNet101": (224, "caffe"),
    "ResNet152": (224, "caffe"),
    "ResNet50V2": (224, "-1..1"),
    "ResNet101V2": (224, "-1..1"),
    "ResNet152V2": (224, "-1..1"),
    "VGG16": (224, "caffe"),
    "VGG19": (224, "caffe"),
    "Xception": (299, "-1..1"),
}
# Those whose graph follows from `weights`: for "imagenet" alone, EfficientNet has a Rescaling after its Normalization.
SQUARE_ROOTS = frozenset(f"EfficientNetB{i}" for i in range(8))
# What that Normalization holds in Keras' own files: the deviation of each channel where a variance belongs.
_IMAGENET_DEVIATION = (0.229, 0.224, 0.225)
_WITH_ALPHA = ("MobileNet", "MobileNetV2", "MobileNetV3Large", "MobileNetV3Small")


def claims(name: str) -> bool:
    """Return whether a name begins as those of keras.applications do."""
    return name.startswith(PREFIX)


def check(name: str, asked: Asked) -> None:
    """Check what can be checked of `keras:NAME` without TensorFlow.

    Raises:
        UsageError: there is no such network, it has no widths to choose from, or an option is not for it.
    """
    short = name.removeprefix(PREFIX)
    if short not in APPLICATIONS:
        raise unknown_name("network of keras.applications", short, APPLICATIONS)
    if asked.alpha is not None and not 0 < asked.alpha < float("inf"):
        raise UsageError(f"--alpha {asked.alpha:g}: expected a number above 0, such as 0.25")
    if asked.alpha is not None and short not in _WITH_ALPHA:
        raise UsageError(f"--alpha: {name} comes in one width; those with several are {', '.join(_WITH_ALPHA)}")
    refuse(name, asked, takes=("alpha", "weights"))


def reads(_name: str, asked: Asked) -> list[Path] | None:
    """Return the file of its weights; None where Keras gets them."""
    return None if asked.weights is None else [Path(asked.weights)]


def load(name: str, asked: Asked) -> Backbone:
    """Build a network of keras.applications with its ImageNet weights.

    They come from `asked.weights`, a file of weights or a whole network that Keras wrote, or else from Keras'
    own cache or download.

    Raises:
        BuildError: the weights cannot be had, or are of another network; there are never random ones.
    """
    short = name.removeprefix(PREFIX)
    usual, pixels = APPLICATIONS[short]
    size = asked.input_size or (usual, usual)
    if asked.weights is None:
        model, source, digest = _downloaded(name, short, size, asked.alpha)
    else:
        path = Path(asked.weights)
        digest, source = file_sha256(path), path.name
        model = _from_file(name, short, size, asked.alpha, path)
    provenance = Provenance(source, digest, "see keras.io/api/applications", "ImageNet-1k")
    full = name if asked.alpha is None else f"{name}-{asked.alpha:g}"
    return adopt(full, model, replace(asked, input_size=size), provenance, pixels=pixels)


def _build(short: str, size: tuple[int, int], alpha: float | None, top: bool, weights: str | None) -> Any:
    import keras

    more: dict[str, Any] = {} if alpha is None else {"alpha": alpha}
    with quiet():
        network = getattr(keras.applications, short)
        return network(include_top=top, weights=weights, input_shape=(*size, 3), **more)


def _downloaded(name: str, short: str, size: tuple[int, int], alpha: float | None) -> tuple[Any, str, str]:
    usual = APPLICATIONS[short][0]
    try:
        # The classifier's weights are for one size only in some; at another, the network comes without it.
        model = _build(short, size, alpha, size == (usual, usual), "imagenet")
    except Exception as e:  # no network, a refused download, a width or size without weights
        raise BuildError(
            f"the ImageNet weights of {name} cannot be had ({first_line(e)}); where there is no network, give their "
            "file: --weights FILE.h5, as keras.applications names it"
        ) from None
    return model, "keras.applications", arrays_sha256(model.get_weights())


def _from_file(name: str, short: str, size: tuple[int, int], alpha: float | None, path: Path) -> Any:
    model = _build(short, size, alpha, True, None)
    try:
        load_weights(model, path)
    except BuildError as error:
        # Many files leave the classifier out.
        model = _build(short, size, alpha, False, None)
        try:
            load_weights(model, path, more=True)
        except BuildError:
            raise BuildError(f"{error}; expected those of {name} at this width") from None
    if short in SQUARE_ROOTS:
        _divide_once_more(model)
    return model


def _divide_once_more(model: Any) -> None:
    """Put into the Normalization what Keras adds after it for weights="imagenet": a Rescaling by 1/sqrt(deviation).

    The file tells: its Normalization has ImageNet's deviation as its variance. In one that was trained without
    these weights it has another, or none, and Keras has no Rescaling there.
    """
    norm = next(layer for layer in model.layers if type(layer).__name__ == "Normalization")
    variance = np.asarray(norm.adapt_variance, np.float64)
    if np.allclose(variance, _IMAGENET_DEVIATION, rtol=0, atol=1e-3):
        norm.adapt_variance.assign(variance * _IMAGENET_DEVIATION)
        derive_state(norm)
