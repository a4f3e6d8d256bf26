"""Biases of networks that came in ONNX, corrected for int8 weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx_networks import SIZE, Small

from tlc_edge.compiler.backbones.find import load_backbone
from tlc_edge.compiler.backbones.shave import shave
from tlc_edge.compiler.features.trunk_files import TrunkFiles
from tlc_edge.compiler.lower.onnx_bias import correct_onnx
from tlc_edge.compiler.options import Asked

IMAGES = np.random.default_rng(1).integers(0, 256, (12, 8, 8, 3), np.uint8)


def network(end: str = "Gemm", activation: str = "Relu", layers: int = 5, batch: str | int = "n") -> Any:
    """Return convolutions of positive inputs in a row, so that rounded weights shift every channel."""
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Cast", ["image"], ["floats"], name="cast", to=TensorProto.FLOAT),
        helper.make_node("Mul", ["floats", "unit"], ["units"], name="units"),
        helper.make_node("Transpose", ["units"], ["x0"], name="first", perm=[0, 3, 1, 2]),
    ]
    constants: dict[str, Any] = {"unit": np.float32(1 / 255), "none": np.zeros(16, np.float32)}
    constants |= {"low": np.float32(0), "high": np.float32(6)}

    def weights(*shape: int) -> NDArray[np.float32]:
        return rng.normal(0, 1.4 / np.sqrt(np.prod(shape[1:])), shape).astype(np.float32)

    for i in range(layers):
        constants[f"w{i}"] = weights(16, 3 if i == 0 else 16, 3, 3)
        # One bias of zeros for all of them: each must get its own.
        nodes.append(helper.make_node("Conv", [f"x{i}", f"w{i}", "none"], [f"y{i}"], name=f"conv{i}", pads=[1] * 4))
        given = [f"y{i}", "low", "high"] if activation == "Clip" else [f"y{i}"]
        nodes.append(helper.make_node(activation, given, [f"x{i + 1}"], name=f"act{i}"))
    nodes.append(helper.make_node("GlobalAveragePool", [f"x{layers}"], ["pooled"], name="pool"))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["flat"], name="flat"))
    constants["fc"], constants["fb"] = weights(10, 16), rng.normal(size=10).astype(np.float32)
    if end == "Gemm":
        nodes.append(helper.make_node("Gemm", ["flat", "fc", "fb"], ["features"], name="fc", transB=1))
    else:
        constants["fc"] = np.ascontiguousarray(constants["fc"].T)
        nodes.append(helper.make_node("MatMul", ["flat", "fc"], ["product"], name="fc"))
        nodes.append(helper.make_node("Add", ["product", "fb"], ["features"], name="add"))
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [batch, 8, 8, 3])],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [batch, 10])],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def weights_of(model: Any) -> dict[str, NDArray[Any]]:
    return {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}


@pytest.mark.parametrize("activation", ["Relu", "Clip", "Sigmoid"])
@pytest.mark.parametrize(("end", "batch"), [("Gemm", "n"), ("MatMul", 1)])
def test_features_come_nearer_to_float(end: str, activation: str, batch: str | int) -> None:
    model = network(end, activation, batch=batch)
    before = model.SerializeToString()
    made, correction = correct_onnx(model, IMAGES)
    assert model.SerializeToString() == before
    assert correction is not None
    assert (correction.images, correction.taken) == (4, True)
    assert 1 - correction.after < (1 - correction.before) / 3
    onnx.checker.check_model(made, full_check=True)
    # Biases alone are new, one for each layer.
    assert [n.op_type for n in made.graph.node] == [n.op_type for n in model.graph.node]
    old, new = weights_of(model), weights_of(made)
    assert {"none", "fb"} <= old.keys() - new.keys() <= {"none", "fb", "low", "high"}  # nothing reads them any more
    for name in old.keys() & new.keys():
        np.testing.assert_array_equal(old[name], new[name])
    assert len(new.keys() - old.keys()) == 6
    assert correct_onnx(model, IMAGES)[0].SerializeToString() == made.SerializeToString()


def test_layers_that_stay_in_float_are_neither_rounded_nor_corrected() -> None:
    model = network()
    names = [node.name for node in model.graph.node]
    assert correct_onnx(model, IMAGES, names) == (model, None)
    made, _ = correct_onnx(model, IMAGES, ["conv0", "fc"])
    changed = [a.name for a, b in zip(made.graph.node, model.graph.node, strict=True) if a.input != b.input]
    assert changed == [f"conv{i}" for i in range(1, 5)]


def test_where_nothing_is_rounded_away_nothing_changes() -> None:
    model = network()
    for constant in model.graph.initializer:
        values = numpy_helper.to_array(constant)
        if values.ndim > 1:
            whole = np.rint(values * 20)
            whole[:, 0, ...] = np.where(whole[:, 0, ...] < 0, -127, 127)
            constant.CopyFrom(numpy_helper.from_array((whole / 1024).astype(np.float32), constant.name))
    made, correction = correct_onnx(model, IMAGES)
    assert made is model
    assert correction is not None
    assert not correction.taken
    assert correction.before == pytest.approx(1.0)


def test_what_does_not_run_by_itself_is_left_as_it_is() -> None:
    model = network()
    model.graph.node[-1].op_type = "Unheard"
    assert correct_onnx(model, IMAGES) == (model, None)


@pytest.mark.parametrize("images", [None, IMAGES[:0], IMAGES[:1]])
def test_there_must_be_images_that_judge(images: NDArray[np.uint8] | None) -> None:
    model = network()
    assert correct_onnx(model, images) == (model, None)


def test_a_trunk_from_a_file_is_corrected(tmp_path: Path) -> None:
    trunk = shave(load_backbone(Small().save(tmp_path), Asked(pixels="imagenet")))
    files = TrunkFiles(trunk, str(tmp_path / "cache"))
    images = np.random.default_rng(2).integers(0, 256, (8, SIZE, SIZE, 3), np.uint8)
    made = files.get("onnx", "int8", images)
    assert made.correction is not None
    assert made.correction.images == 2
    assert files.get("onnx", "float32").correction is None
    again = TrunkFiles(trunk, str(tmp_path / "cache")).get("onnx", "int8", images)
    assert (again.data, again.correction) == (made.data, made.correction)
