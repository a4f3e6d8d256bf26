"""A backbone of two convolutions: what the steps do to it can be worked out in numpy."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.backbones.shave import shave
from tlc_edge.compiler.records import Backbone, Classifier, Dense, Fused, Head, InputSpec, Neck, Provenance, Trunk
from tlc_edge.compiler.toolchain import load_tensorflow
from tlc_edge.runtime.bundle.manifest import Preprocessing

LABELS = ("cup", "Ölkanne", "犬")


def small_backbone(seed: int = 0, classifier: bool = True) -> Backbone:
    """Return a network from 8x8 pixels to a feature map [4, 4, 12]; equal seeds give equal weights."""
    load_tensorflow()
    from keras import Input, Model, layers

    image = Input((8, 8, 3), name="image")
    x = layers.Conv2D(6, 3, 2, "same", name="first_conv")(image)
    x = layers.ReLU(6.0, name="first_activation")(x)
    x = layers.Conv2D(12, 1, name="top_conv")(x)
    model = Model(image, layers.ReLU(6.0, name="top_activation")(x), name="small")
    generator = np.random.default_rng(seed)
    model.set_weights([generator.normal(0.2, 0.5, w.shape) for w in model.get_weights()])
    return Backbone(
        name="small",
        model=model,
        input=InputSpec(8, 8),
        provenance=Provenance("made for a test", "0" * 64, "Apache-2.0", "nothing"),
        default_shave="top_activation",
        classifier=Classifier(floats(generator, 12, 20), floats(generator, 20)) if classifier else None,
    )


def small_fused(labels: tuple[str, ...] = LABELS, hidden: int = 0, neck: bool = True) -> Fused:
    """Return that backbone, fused with a head (with `hidden` units in between, if any) and a neck of 5 dimensions."""
    return fused_with(shave(small_backbone()), labels, hidden, neck)


def fused_with(trunk: Trunk, labels: tuple[str, ...] = LABELS, hidden: int = 0, neck: bool = True) -> Fused:
    """Return any trunk, fused with a head and a neck of random numbers; equal arguments give equal numbers."""
    generator = np.random.default_rng(1)
    width = trunk.width
    widths = [width, hidden, len(labels)] if hidden else [width, len(labels)] if labels else []
    layers = tuple(
        Dense(floats(generator, i, o), floats(generator, o), "softmax" if o == widths[-1] else "relu")
        for i, o in pairwise(widths)
    )
    head = Head("mlp" if hidden else "linear" if labels else "none", layers)
    made = Neck("pca", 5, floats(generator, width, 5), floats(generator, 5)) if neck else Neck("none", width)
    size = trunk.backbone.input
    return Fused(trunk, made, head, labels, Preprocessing(size.height, size.width))


def small_images(count: int, seed: int = 0) -> NDArray[np.uint8]:
    """Return random images [count, 8, 8, 3]."""
    return np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 3), np.uint8)


def normalised(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return what the backbone takes for these pixels."""
    return ((images.astype(np.float64) - 127) / 128).astype(np.float32)


def feature_map(model: Any, images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Run a Keras model over images; float64, so that what a test does with the result adds no error."""
    return np.asarray(model(normalised(images), training=False), np.float64)


def floats(generator: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    """Return normally distributed numbers."""
    return generator.normal(size=shape).astype(np.float32)
