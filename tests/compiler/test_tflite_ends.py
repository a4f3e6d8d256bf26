"""int8 at the ends of a TFLite file: the same answers, without the operations that converted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from small_networks import LABELS, small_fused, small_images

from tlc_edge.compiler.lower.file_kinds import FileKind
from tlc_edge.compiler.lower.tflite_content import read_content
from tlc_edge.compiler.lower.tflite_lower import lower_trunk_tflite, tflite_model
from tlc_edge.compiler.records import Fused, LoweredTrunk
from tlc_edge.runtime.engines.open import KINDS, Engine, open_model, outputs_for
from tlc_edge.runtime.errors import BuildError

IMAGES = small_images(8)


def features_of(trunk: LoweredTrunk) -> NDArray[np.float32]:
    engine = open_model(KINDS[0], trunk.data, 1, ("features",))
    return np.stack([engine.run(image)[0] for image in IMAGES])


@pytest.fixture(scope="module")
def fused() -> Fused:
    return small_fused()


@pytest.fixture(scope="module")
def trunk(fused: Fused) -> LoweredTrunk:
    return lower_trunk_tflite(fused.trunk, "int8", IMAGES)


def model(trunk: LoweredTrunk, fused: Fused, source: str, outputs: str) -> bytes:
    return tflite_model(trunk, fused, features_of(trunk), FileKind("tflite", trunk.scheme, source, outputs)).data


def opened(data: bytes, labels: tuple[str, ...] = LABELS) -> Engine:
    return open_model(KINDS[0], data, 1, outputs_for(labels))


def ends(data: bytes) -> tuple[Any, dict[str, Any]]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=data)
    (source,) = interpreter.get_input_details()
    return source, {d["name"]: d for d in interpreter.get_output_details()}


@pytest.mark.parametrize("source", ["uint8", "int8"])
@pytest.mark.parametrize("outputs", ["float32", "int8"])
@pytest.mark.parametrize("variant", ["head and neck", "mlp", "no neck", "no head"])
def test_the_answers_are_the_same_to_the_bit(trunk: LoweredTrunk, source: str, outputs: str, variant: str) -> None:
    labels = () if variant == "no head" else LABELS
    fused = small_fused(labels, hidden=4 if variant == "mlp" else 0, neck=variant != "no neck")
    data = model(trunk, fused, source, outputs)
    given, found = ends(data)
    assert given["dtype"] == np.dtype(source)
    assert {str(d["dtype"].__name__) for d in found.values()} == {outputs}
    assert list(found) == list(outputs_for(labels))
    usual, other = opened(model(trunk, fused, "uint8", "float32"), labels), opened(data, labels)
    for image in IMAGES:
        for expected, got in zip(usual.run(image), other.run(image), strict=True):
            np.testing.assert_array_equal(got, expected)


def test_only_the_converting_operations_go(trunk: LoweredTrunk, fused: Fused) -> None:
    usual = read_content(model(trunk, fused, "uint8", "float32")).operations
    assert (usual["QUANTIZE"], usual["DEQUANTIZE"]) == (1, 2)
    both = read_content(model(trunk, fused, "int8", "int8")).operations
    assert usual - both == {"QUANTIZE": 1, "DEQUANTIZE": 2}
    assert not both - usual
    assert read_content(model(trunk, fused, "uint8", "int8")).operations["QUANTIZE"] == 1


def test_nothing_is_left_that_nothing_refers_to(trunk: LoweredTrunk, fused: Fused) -> None:
    from ai_edge_litert import schema_py_generated as schema

    data = model(trunk, fused, "int8", "int8")
    made: Any = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(bytearray(data), 0))
    graph = made.subgraphs[0]
    used = {int(i) for o in graph.operators for i in (*o.inputs, *o.outputs)} | {int(graph.inputs[0])}
    assert used == set(range(len(graph.tensors)))
    assert {int(o.opcodeIndex) for o in graph.operators} == set(range(len(made.operatorCodes)))
    held = {0, *(int(t.buffer) for t in graph.tensors), *(int(m.buffer) for m in made.metadata)}
    # One buffer more held metadata that was replaced.
    assert len(made.buffers) - len(held) <= 1


def test_a_float_file_has_no_int8_end(fused: Fused) -> None:
    trunk = lower_trunk_tflite(fused.trunk, "float32")
    with pytest.raises(BuildError, match="does not begin in int8"):
        model(trunk, fused, "int8", "float32")
    with pytest.raises(BuildError, match="does not end in int8"):
        model(trunk, fused, "uint8", "int8")
    assert model(trunk, fused, "uint8", "float32")
