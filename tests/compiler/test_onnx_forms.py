"""ONNX that means the same in other words: of older and newer operator sets, and as other tools leave it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tlc_edge.compiler.backbones.find import load_backbone
from tlc_edge.compiler.backbones.shave import shave
from tlc_edge.compiler.lower.onnx_lower import lower_trunk_onnx
from tlc_edge.compiler.options import Asked
from tlc_edge.runtime.engines.onnx_engine import OnnxEngine
from tlc_edge.runtime.errors import BuildError

pytestmark = pytest.mark.usefixtures("_unrehearsed")

SIZE = 12
DRAW = np.random.default_rng(2)
IMAGES = (DRAW.integers(0, 190, (6, 1, 1, 3)) + DRAW.integers(0, 66, (6, SIZE, SIZE, 3))).astype(np.uint8)


class Net:
    """A convolution, what a test puts after it, and where that gives places another convolution."""

    def __init__(self, opset: int) -> None:
        self.opset, self.nodes, self.constants = opset, list[Any](), list[Any]()
        self._draw = np.random.default_rng(5)

    def constant(self, values: Any, kind: Any = np.float32) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values, kind), name))
        return name

    def drawn(self, *shape: int) -> str:
        return self.constant(self._draw.normal(0, 1.2 / np.sqrt(max(1, np.prod(shape[1:]))), shape))

    def node(self, kind: str, inputs: list[str], **given: Any) -> str:
        name = f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [f"{name}_out"], name=name, **given))
        return f"{name}_out"

    def save(self, path: Path, middle: Callable[[Net, str], str], *, told: bool = True, places: bool = True) -> None:
        x = self.node("Conv", ["image", self.drawn(8, 3, 3, 3), self.drawn(8)], pads=[1, 1, 1, 1])
        x = middle(self, x)
        x = self.node("Conv", [x, self.drawn(4, 8, 1, 1)]) if places else x
        image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, SIZE, SIZE])
        output = onnx.ValueInfoProto(name=x)
        if told:
            output = helper.make_tensor_value_info(x, TensorProto.FLOAT, list("nchw") if places else list("nc"))
        graph = helper.make_graph(self.nodes, "net", [image], [output], self.constants)
        version = [helper.make_opsetid("", self.opset)]
        path.write_bytes(helper.make_model(graph, opset_imports=version, ir_version=8).SerializeToString())


def given(path: Path) -> Any:
    """Return what onnxruntime makes of the file itself, pooled."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found = session.run(None, {"image": (IMAGES / 127.5 - 1).astype(np.float32).transpose(0, 3, 1, 2)})[0]
    return found.mean((2, 3)) if found.ndim == 4 else found


def made(path: Path, scheme: str) -> Any:
    backbone = load_backbone(str(path), Asked(pixels="-1..1"))
    trunk = shave(backbone, backbone.model.nodes()[-1].name)
    engine = OnnxEngine("onnxruntime", "onnxruntime", lower_trunk_onnx(trunk, scheme, IMAGES).data, 1, ["features"])
    return np.stack([engine.run(image)[0] for image in IMAGES])


def gemm(net: Net, x: str) -> str:
    flat = net.node("Flatten", [net.node("GlobalAveragePool", [x])])
    return net.node("Gemm", [flat, net.drawn(5, 8), net.drawn(5)], transB=1, alpha=0.5, beta=2.0)


def pad_some(net: Net, x: str) -> str:
    return net.node("Pad", [x, net.constant([1, 2], np.int64), "", net.constant([2], np.int64)])


def larger(net: Net, x: str) -> str:
    return net.node("Resize", [x, "", net.constant([2, 1.5])], mode="linear", axes=[2, 3])


def of_some_size(net: Net, x: str) -> str:
    return net.node("Resize", [x, "", "", net.constant([20], np.int64)], mode="linear", axes=[3])


def normed(net: Net, x: str) -> str:
    shape = (8, SIZE, SIZE)
    return net.node("LayerNormalization", [x, net.constant(np.full(shape, 0.7)), net.constant(np.ones(shape))], axis=1)


SCALES = [1, 1, 2, 2]
FORMS: dict[str, tuple[int, Callable[[Net, str], str]]] = {
    "factors of a dense layer": (13, gemm),
    "a softmax of all that follows": (11, lambda net, x: net.node("Softmax", [x], axis=2)),
    "places as Upsample found them": (9, lambda net, x: net.node("Upsample", [x, net.constant(SCALES)], mode="linear")),
    "places as Resize found them": (10, lambda net, x: net.node("Resize", [x, net.constant(SCALES)], mode="linear")),
    "nearest places, as before": (10, lambda net, x: net.node("Resize", [x, net.constant(SCALES)], mode="nearest")),
    "some axes padded": (18, pad_some),
    "some axes scaled": (18, larger),
    "some axes of a size": (18, of_some_size),
    "a layer norm of several axes": (17, normed),
}


@pytest.mark.parametrize("name", FORMS)
def test_it_is_what_the_file_itself_gives(name: str, tmp_path: Path) -> None:
    opset, middle = FORMS[name]
    Net(opset).save(tmp_path / "net.onnx", middle, places=middle is not gemm)
    wanted = given(tmp_path / "net.onnx")
    top = np.abs(wanted).max()
    np.testing.assert_allclose(made(tmp_path / "net.onnx", "float32"), wanted, atol=1e-5 * top)
    # A softmax over so many is all near to nothing, which int8 has no steps for.
    if "softmax" not in name:
        np.testing.assert_allclose(made(tmp_path / "net.onnx", "int8"), wanted, atol=0.05 * top)


def test_an_output_that_is_a_name_alone(tmp_path: Path) -> None:
    Net(13).save(tmp_path / "net.onnx", lambda net, x: net.node("Relu", [x]), told=False)
    wanted = given(tmp_path / "net.onnx")
    np.testing.assert_allclose(made(tmp_path / "net.onnx", "float32"), wanted, atol=1e-5 * np.abs(wanted).max())


@pytest.mark.parametrize("kind", ["Resize", "AveragePool"])
def test_what_onnxruntime_cannot_run_in_int8_is_refused(kind: str, tmp_path: Path) -> None:
    def middle(net: Net, x: str) -> str:
        if kind == "Resize":
            return net.node(kind, [x, "", net.constant([1, 1, 0.75, 2])], mode="cubic")
        return net.node(kind, [x], kernel_shape=[3, 3], dilations=[2, 2])

    Net(19).save(tmp_path / "net.onnx", middle)
    with pytest.raises(BuildError, match=rf"cannot run {kind} \({kind}_1\) in int8 .* choose --onnx-scheme float32"):
        made(tmp_path / "net.onnx", "int8")
    wanted = given(tmp_path / "net.onnx")
    np.testing.assert_allclose(made(tmp_path / "net.onnx", "float32"), wanted, atol=1e-5 * np.abs(wanted).max())
