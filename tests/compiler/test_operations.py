"""What is left to do of a network: operation by operation, for EfficientNet-Lite0, before and after."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pytest

from tlc_edge.compiler.backbones.rows import rows
from tlc_edge.compiler.backbones.shave import shave
from tlc_edge.compiler.lower.onnx_content import read_onnx_content
from tlc_edge.compiler.lower.tflite_content import operation_names, read_content
from tlc_edge.compiler.lower.tflite_lower import lower_trunk_tflite
from tlc_edge.compiler.network.layers import nodes
from tlc_edge.compiler.records import Backbone
from tlc_edge.compiler.weights.pins import from_package
from tlc_edge.compiler.weights.torch_pickle import read_state_dict
from tlc_edge.runtime import Bundle

# One operation: what it is, what it reads, what it gives.
Operation = tuple[str, tuple[str, ...], tuple[str, ...]]


def tflite_operations(data: bytes) -> tuple[list[Operation], list[str], dict[str, bytes]]:
    """Return the operations in order, the names of the graph's outputs, and the constants."""
    from ai_edge_litert import schema_py_generated as schema

    model: Any = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(bytearray(data), 0))
    (graph,) = model.subgraphs
    codes = [c.builtinCode or c.deprecatedBuiltinCode for c in model.operatorCodes]
    names = operation_names()

    def called(indices: Iterable[int]) -> tuple[str, ...]:
        return tuple(f"{i}" for i in indices if i >= 0)

    operations = [(names[codes[o.opcodeIndex]], called(o.inputs), called(o.outputs)) for o in graph.operators]
    constants = {
        str(i): bytes(np.array(model.buffers[t.buffer].data, np.uint8)) + repr(list(t.shape)).encode()
        for i, t in enumerate(graph.tensors)
        if model.buffers[t.buffer].data is not None
    }
    return operations, list(called(graph.outputs)), constants


def onnx_operations(data: bytes) -> tuple[list[Operation], list[str], dict[str, bytes]]:
    import onnx

    model: Any = onnx.load_from_string(data)
    operations = [(n.op_type, tuple(n.input), tuple(n.output)) for n in model.graph.node]
    constants = {
        i.name: onnx.numpy_helper.to_array(i).tobytes() + repr(list(i.dims)).encode() for i in model.graph.initializer
    }
    return operations, [o.name for o in model.graph.output], constants


def check_nothing_idles(operations: Sequence[Operation], outputs: Sequence[str], constants: dict[str, bytes]) -> None:
    read = {name for _, inputs, _ in operations for name in inputs} | set(outputs)
    assert [o for o in operations if not read & set(o[2])] == []  # dead
    assert set(constants) <= read
    same = Counter((kind, inputs) for kind, inputs, _ in operations)
    assert [what for what, count in same.items() if count > 1] == []  # computed twice
    large = [value for value in constants.values() if len(value) > 256]
    assert len(large) == len(set(large))  # stored twice


@pytest.fixture(scope="module")
def float_trunk(lite0: Backbone) -> bytes:
    return lower_trunk_tflite(shave(lite0), "float32").data


def test_before_every_convolution_has_a_batch_norm_of_its_own() -> None:
    file = from_package(rows()["efficientnet-lite0"].files[0])
    assert file is not None
    weights = read_state_dict(file)
    assert sum(w.ndim == 4 for w in weights.values()) == 49
    assert sum(name.endswith("running_mean") for name in weights) == 49


def test_after_folding_they_are_gone(lite0: Backbone) -> None:
    found = Counter(n.kind for n in nodes(shave(lite0).model))
    assert found == {
        "InputLayer": 1, "Conv2D": 33, "DepthwiseConv2D": 16, "ReLU": 33, "Add": 9, "GlobalAveragePooling2D": 1
    }  # fmt: skip


def test_float_tflite(float_trunk: bytes) -> None:
    """The activations are part of the convolutions; so is the scale of the pixels."""
    found = read_content(float_trunk).operations
    assert found == {"CAST": 1, "SUB": 1, "CONV_2D": 33, "DEPTHWISE_CONV_2D": 16, "ADD": 9, "MEAN": 1}
    check_nothing_idles(*tflite_operations(float_trunk))


def test_int8_tflite(bundle: Bundle) -> None:
    """The input's scale and zero point are the normalisation; from uint8 to int8 is one operation.

    Roots are taken in float.
    """
    data = bundle.read("model.tflite")
    assert read_content(data).operations == {
        "QUANTIZE": 2, "CONV_2D": 33, "DEPTHWISE_CONV_2D": 16, "ADD": 9, "MEAN": 1,
        "FULLY_CONNECTED": 2, "SQRT": 1, "SOFTMAX": 1, "DEQUANTIZE": 3,
    }  # fmt: skip
    check_nothing_idles(*tflite_operations(data))


def test_float_onnx(bundle: Bundle) -> None:
    """ONNX has no fused activations: its engines fuse them when they load the file."""
    data = bundle.read("model.onnx")
    assert read_onnx_content(data).operations == {
        "Cast": 1, "Sub": 1, "Mul": 1, "Transpose": 1, "Conv": 49, "Clip": 33, "Add": 9, "GlobalAveragePool": 1,
        "Squeeze": 1, "Sqrt": 1, "Gemm": 2, "Softmax": 1,
    }  # fmt: skip
    check_nothing_idles(*onnx_operations(data))


def test_what_idles_would_be_seen() -> None:
    twice = [("Conv", ("image", "k"), ("a",)), ("Conv", ("image", "k"), ("b",)), ("Add", ("a", "b"), ("c",))]
    with pytest.raises(AssertionError):
        check_nothing_idles(twice, ["c"], {"k": b"x"})
    dead = [("Conv", ("image", "k"), ("a",)), ("Clip", ("image",), ("b",))]
    with pytest.raises(AssertionError):
        check_nothing_idles(dead, ["a"], {"k": b"x"})
    with pytest.raises(AssertionError):
        check_nothing_idles(dead[:1], ["a"], {"k": b"x", "never read": b"y"})
    with pytest.raises(AssertionError):
        check_nothing_idles([("Conv", ("image", "k", "l"), ("a",))], ["a"], {"k": bytes(300), "l": bytes(300)})
    check_nothing_idles(dead[:1], ["a"], {"k": b"x"})
