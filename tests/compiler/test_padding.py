from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from small_networks import small_images

from tlc_edge.compiler.lower.onnx_content import read_onnx_content
from tlc_edge.compiler.lower.onnx_lower import lower_trunk_onnx
from tlc_edge.compiler.lower.onnx_padding import fold_padding, pad_after_transpose
from tlc_edge.compiler.lower.tflite_content import read_content
from tlc_edge.compiler.lower.tflite_lower import lower_trunk_tflite
from tlc_edge.compiler.network.fold import fold
from tlc_edge.compiler.network.pixels import PIXELS
from tlc_edge.compiler.records import Backbone, Provenance, Trunk
from tlc_edge.compiler.toolchain import load_tensorflow

IMAGES = small_images(4, seed=5)
CALIBRATION = np.concatenate([small_images(16, seed=3), IMAGES])  # what they give shall not be cut off


def trunk(*middle: Any, pixels: str = "0..1") -> Trunk:
    """A network of 8x8 images: a convolution, what is given, a convolution, the average."""
    load_tensorflow()
    from keras import Sequential, layers, utils

    utils.set_random_seed(1)
    given = Sequential(
        [
            layers.Input((8, 8, 3)),
            layers.Conv2D(8, 3, padding="same", activation="relu", bias_initializer="ones"),
            *middle,
            layers.Conv2D(6, 1, activation="relu", bias_initializer="ones"),
            layers.GlobalAveragePooling2D(),
        ]
    )
    folded = fold(given, PIXELS[pixels])
    backbone = Backbone("given", folded.model, folded.input, Provenance("test", "", "", ""), "")
    return Trunk(backbone, "", "avg", folded.model, 6)


def features(data: bytes) -> Any:
    import onnxruntime

    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return session.run(["features"], {"image": IMAGES})[0]


def keras(of: Trunk) -> Any:
    spec = of.backbone.input
    return np.asarray(of.model((IMAGES.astype(np.float32) - spec.mean) / spec.std))


def operations(data: bytes) -> Any:
    return read_onnx_content(data).operations


def test_zeros_around_a_convolution_become_its_own() -> None:
    from keras import layers

    given = trunk(layers.ZeroPadding2D(((1, 2), (0, 3))), layers.DepthwiseConv2D(3, 2), layers.ReLU())
    data = lower_trunk_onnx(given).data
    assert "Pad" not in operations(data)
    np.testing.assert_allclose(features(data), keras(given), atol=1e-5)
    quantized = lower_trunk_onnx(given, "int8", CALIBRATION).data
    found = operations(quantized)
    # One conversion for each of three convolutions, the average and its new shape, and none for zeros.
    assert (found["QuantizeLinear"], found["Pad"]) == (5, 0)
    assert np.abs(features(quantized) - keras(given)).max() < 0.05 * np.abs(keras(given)).max()


def test_zeros_that_something_else_reads_stay() -> None:
    from keras import layers

    given = trunk(layers.ZeroPadding2D(1), layers.MaxPooling2D(3))
    data = lower_trunk_onnx(given).data
    assert operations(data)["Pad"] == 1
    np.testing.assert_allclose(features(data), keras(given), atol=1e-5)


@pytest.mark.parametrize("pixels", ["imagenet", "caffe"])
def test_the_channel_for_the_offsets_is_added_to_whole_channels(pixels: str) -> None:
    import onnx

    given = trunk(pixels=pixels)
    data = lower_trunk_onnx(given).data
    kinds = [node.op_type for node in onnx.load_from_string(data).graph.node]
    assert kinds[:6] == ["Cast", "Sub", "Mul", "Transpose", "Pad", "Conv"]
    np.testing.assert_allclose(features(data), keras(given), rtol=1e-4, atol=1e-5)
    # In int8 it is added to the pixels themselves, and nothing normalises them.
    quantized = lower_trunk_onnx(given, "int8", CALIBRATION).data
    kinds = [node.op_type for node in onnx.load_from_string(quantized).graph.node]
    assert not {"Cast", "Sub", "Mul"} & set(kinds)
    (pad,) = (node for node in onnx.load_from_string(quantized).graph.node if node.op_type == "Pad")
    assert operations(quantized)["QuantizeLinear"] == 4
    assert pad.input[2] in {i.name for i in onnx.load_from_string(quantized).graph.initializer if i.data_type == 2}
    assert np.abs(features(quantized) - keras(given)).max() < 0.05 * np.abs(keras(given)).max()


@pytest.mark.parametrize("scheme", ["float32", "int8"])
def test_in_a_tflite_file_it_is_a_constant_beside_the_image(scheme: str) -> None:
    given = trunk(pixels="imagenet")
    data = lower_trunk_tflite(given, scheme, CALIBRATION).data
    found = read_content(data).operations
    ends = {"CAST": 1, "SUB": 1, "MUL": 1} if scheme == "float32" else {"QUANTIZE": 1, "DEQUANTIZE": 1}
    assert found == {"CONCATENATION": 1, "CONV_2D": 2, "MEAN": 1, **ends}


def test_zeros_put_before_the_channels_come_first_go_into_the_convolution_too() -> None:
    """Two nodes that pad by the same constant, each followed by a transposition, as a converter may leave them."""
    from onnx import TensorProto, helper, numpy_helper
    from onnxruntime import InferenceSession

    draw = np.random.default_rng(0)
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 6, 5, 3])
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("a", "b")]
    nodes = []
    for name in ("a", "b"):
        nodes += [
            helper.make_node("Pad", ["image", "pads"], [f"{name}1"]),
            helper.make_node("Transpose", [f"{name}1"], [f"{name}2"], perm=[0, 3, 1, 2]),
            helper.make_node("Conv", [f"{name}2", f"k{name}"], [name], strides=[2, 2]),
        ]
    constants = [numpy_helper.from_array(np.array([0, 1, 0, 0, 0, 1, 2, 0], np.int64), "pads")]
    constants += [
        numpy_helper.from_array(draw.normal(size=(4, 3, 3, 3)).astype(np.float32), f"k{name}") for name in ("a", "b")
    ]
    graph: Any = helper.make_graph(nodes, "g", [image], ends, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    feed = {"image": draw.normal(size=(1, 6, 5, 3)).astype(np.float32)}
    before = InferenceSession(model.SerializeToString()).run(None, feed)
    pad_after_transpose(model.graph)
    names = [c.name for c in model.graph.initializer]
    assert (len(names), len(set(names))) == (4, 4)  # the two kernels, and one constant for each node that pads
    assert [n.op_type for n in model.graph.node] == ["Transpose", "Pad", "Conv"] * 2
    for one, other in zip(before, InferenceSession(model.SerializeToString()).run(None, feed), strict=True):
        np.testing.assert_array_equal(one, other)
    fold_padding(model.graph)
    assert [n.op_type for n in model.graph.node] == ["Transpose", "Conv"] * 2
    for one, other in zip(before, InferenceSession(model.SerializeToString()).run(None, feed), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
