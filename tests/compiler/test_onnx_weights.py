"""How an ONNX file keeps weights: the values that an engine gets, whatever the graph they are added to."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tlc_edge.compiler.lower.onnx_weights import add_weights, halve

onnx: Any = pytest.importorskip("onnx")
ort: Any = pytest.importorskip("onnxruntime")
RNG = np.random.default_rng(0)


def graph(nodes: list[Any], width: int, **outputs: int) -> Any:
    """A model from `x` [1, width]; of each output, how many dimensions it has."""
    helper, floats = onnx.helper, onnx.TensorProto.FLOAT
    given = [helper.make_tensor_value_info("x", floats, [1, width])]
    gives = [helper.make_tensor_value_info(name, floats, [None] * rank) for name, rank in outputs.items()]
    made = helper.make_graph(nodes, "g", given, gives)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def run(model: Any, x: np.ndarray) -> list[np.ndarray]:
    onnx.checker.check_model(model)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})


@pytest.mark.parametrize("kept", ["float32", "float16", "int8"])
@pytest.mark.parametrize("shape", [(6, 5), (3, 1), (4, 4), (64, 3)])
def test_the_first_node_of_a_graph_gets_its_weights(kept: str, shape: tuple[int, int]) -> None:
    values = (RNG.normal(size=shape) * 10.0 ** RNG.integers(-3, 3, shape[1])).astype(np.float32)
    model = graph([onnx.helper.make_node("MatMul", ["x", "w"], ["y"])], shape[0], y=2)
    assert add_weights(model.graph, "w", values, kept) == "w"
    (found,) = run(model, np.eye(shape[0], dtype=np.float32)[:1])
    expected = values[0]
    if kept == "int8":
        step = np.abs(values).max(axis=0) / 127
        assert (np.abs(found[0] - expected) <= 0.51 * step).all()
        np.testing.assert_allclose(found[0] / step, np.rint(found[0] / step), atol=1e-3)
        assert model.graph.initializer[0].data_type == onnx.TensorProto.INT8
    elif kept == "float16" and values.size >= 16:
        np.testing.assert_array_equal(found[0], expected.astype(np.float16).astype(np.float32))
        assert [i.data_type for i in model.graph.initializer] == [onnx.TensorProto.FLOAT16]
    else:
        np.testing.assert_array_equal(found[0], expected)
        assert [i.data_type for i in model.graph.initializer] == [onnx.TensorProto.FLOAT]


@pytest.mark.parametrize(
    ("size", "largest", "half"), [(15, 1.0, False), (16, 1.0, True), (16, 65504.0, True), (16, 65520.0, False)]
)
def test_what_is_short_or_too_large_for_half_precision_stays(size: int, largest: float, half: bool) -> None:
    values = np.linspace(-largest, largest / 2, size, dtype=np.float32)
    model = graph([onnx.helper.make_node("Add", ["x", "w"], ["y"])], size, y=2)
    add_weights(model.graph, "w", values, "float16")
    assert (model.graph.initializer[0].data_type == onnx.TensorProto.FLOAT16) is half
    (found,) = run(model, np.zeros((1, size), np.float32))
    np.testing.assert_array_equal(found[0], values.astype(np.float16).astype(np.float32) if half else values)


def test_a_vector_is_never_rounded_to_int8_and_a_channel_of_zeros_stays_zero() -> None:
    model = graph(
        [onnx.helper.make_node("MatMul", ["x", "w"], ["z"]), onnx.helper.make_node("Add", ["z", "b"], ["y"])], 3, y=2
    )
    kernel, bias = np.array([[1, 0], [2, 0], [-3, 0]], np.float32), np.array([0.123456789, 7e-9], np.float32)
    add_weights(model.graph, "w", kernel, "int8")
    add_weights(model.graph, "b", bias, "int8")
    (found,) = run(model, np.array([[0, 0, 1]], np.float32))
    np.testing.assert_allclose(found[0], [-3 + bias[0], bias[1]], rtol=1e-6)


def test_all_large_constants_are_halved_in_their_order() -> None:
    names, values = ["a", "b", "c"], [RNG.normal(size=n).astype(np.float32) for n in (20, 3, 20)]
    nodes = [
        onnx.helper.make_node("Add", ["x", "a"], ["p"]),
        onnx.helper.make_node("Mul", ["p", "c"], ["y"]),
        onnx.helper.make_node("Identity", ["b"], ["z"]),
    ]
    model = graph(nodes, 20, y=2, z=1)
    for name, value in zip(names, values, strict=True):
        model.graph.initializer.append(onnx.numpy_helper.from_array(value, name))
    halve(model)
    x = RNG.normal(size=(1, 20)).astype(np.float32)
    y, z = run(model, x)
    a, c = (v.astype(np.float16).astype(np.float32) for v in (values[0], values[2]))
    np.testing.assert_allclose(y[0], (x[0] + a) * c, rtol=1e-5)
    np.testing.assert_array_equal(z, values[1])
    assert [n.output[0] for n in model.graph.node] == ["a", "c", "p", "y", "z"]
