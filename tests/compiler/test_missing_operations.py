"""Networks with what ONNX or TFLite has no operation for, and with what only compares."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest

from tlc_edge.compiler.backbones.adopt import adopt
from tlc_edge.compiler.backbones.shave import shave
from tlc_edge.compiler.lower.onnx_lower import lower_trunk_onnx
from tlc_edge.compiler.lower.tflite_content import read_content
from tlc_edge.compiler.lower.tflite_lower import lower_trunk_tflite
from tlc_edge.compiler.options import Asked
from tlc_edge.compiler.records import Provenance, Trunk
from tlc_edge.compiler.toolchain import load_tensorflow
from tlc_edge.runtime.engines.onnx_engine import OnnxEngine
from tlc_edge.runtime.errors import BuildError

IMAGES = np.random.default_rng(5).integers(0, 256, (2, 12, 12, 3)).astype(np.uint8)


@pytest.fixture(scope="module", autouse=True)
def _tensorflow() -> None:
    load_tensorflow()


def trunk_with(middle: Callable[[Any], Any]) -> Trunk:
    """Return a network with this between two convolutions."""
    from keras import Input, Model, layers, utils

    utils.set_random_seed(4)
    image = Input((12, 12, 3))
    x = middle(layers.Conv2D(8, 3)(layers.Rescaling(1 / 64, -2.0)(image)))
    model = Model(image, layers.Conv2D(4, 1, activation="relu", name="last")(x))
    provenance = Provenance("made for a test", "0" * 64, "none", "nothing")
    return shave(adopt("net", model, Asked(pixels="0..255"), provenance))


def activation(name: str) -> Callable[[Any], Any]:
    def make(x: Any) -> Any:
        from keras import layers

        return layers.Activation(name)(x)

    return make


def grouped(x: Any) -> Any:
    from keras import layers

    return layers.Conv2D(8, 3, groups=4)(x)


@pytest.mark.parametrize(
    ("middle", "expressed"),
    [
        pytest.param(activation("gelu"), {"Erf"}, id="gelu"),
        pytest.param(activation("celu"), {"Exp"}, id="celu"),
        pytest.param(grouped, {"Conv"}, id="groups"),
        pytest.param(activation("mish"), {"Tanh"}, id="mish"),
    ],
)
def test_it_is_written_as_what_onnx_has(middle: Callable[[Any], Any], expressed: set[str]) -> None:
    trunk = trunk_with(middle)
    data = lower_trunk_onnx(trunk).data
    kinds = {node.op_type for node in onnx.load_from_string(data).graph.node}
    assert expressed <= kinds
    assert not {"Erfc", "Expm1", "StatefulPartitionedCall"} & kinds
    spec = trunk.backbone.input
    wanted = np.asarray(trunk.model((IMAGES.astype(np.float32) - spec.mean) / spec.std, training=False))
    engine = OnnxEngine("onnxruntime", "onnxruntime", data, 1, ["features"])
    found = np.stack([np.asarray(engine.run(image)[0]).ravel() for image in IMAGES])
    np.testing.assert_allclose(found, wanted, atol=1e-5 * np.abs(wanted).max())


def test_a_grouped_convolution_is_one_in_tflite_too() -> None:
    assert lower_trunk_tflite(trunk_with(grouped), "float32").data[4:8] == b"TFL3"


def test_what_is_left_is_refused_by_name() -> None:
    def inverse(x: Any) -> Any:
        from keras import ops

        return ops.erfinv(ops.tanh(x) * 0.5)

    with pytest.raises(BuildError, match="the network has Erfinv, which ONNX has not; build for a target"):
        lower_trunk_onnx(trunk_with(inverse))


def test_a_network_of_a_fixed_number_of_images_is_refused() -> None:
    def eight(x: Any) -> Any:
        from keras import ops

        return ops.reshape(x, (8, 10, 10, 8))

    with pytest.raises(BuildError, match="takes 8 images at a time, and no other number"):
        trunk_with(eight)


def softmax_of_places(x: Any) -> Any:
    from keras import layers

    return layers.Softmax(axis=[1, 2])(x)


def chosen(x: Any) -> Any:
    from keras import ops

    return ops.where(x > 0, x, x * 0.1)


@pytest.mark.parametrize("scheme", ["float32", "float16", "int8"])
@pytest.mark.parametrize(
    "middle",
    [
        pytest.param(activation("selu"), id="selu"),
        pytest.param(softmax_of_places, id="softmax"),
        pytest.param(chosen, id="where"),
    ],
)
def test_comparisons_do_not_make_a_file_another_scheme(middle: Callable[[Any], Any], scheme: str) -> None:
    trunk = trunk_with(middle)
    lowered = lower_trunk_tflite(trunk, scheme, IMAGES)
    content = read_content(lowered.data)
    assert "bool" not in content.activations
    assert (content.activations["int8"] > 0) == (scheme == "int8")


def test_what_tflite_has_not_is_refused_by_name() -> None:
    def error_function(x: Any) -> Any:
        from keras import ops

        return ops.erf(x)

    with pytest.raises(
        BuildError, match="the network has Erf, which TFLite has not; build for a target that takes ONNX"
    ):
        lower_trunk_tflite(trunk_with(error_function), "float32")
