"""What is summed has its own range in an int8 file, not that of the sum which is written over it."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from small_networks import normalised, small_images
from test_near_float import relu6, residual, trunk_of

from tlc_edge.compiler.lower.formats import lower_trunk
from tlc_edge.compiler.lower.tflite_file import operation_names, read_tflite, tensor_name
from tlc_edge.compiler.lower.tflite_names import layer_name
from tlc_edge.compiler.lower.tflite_sums import first_output_only, output_layers, with_summands
from tlc_edge.compiler.network.walk import start, steps
from tlc_edge.compiler.records import Trunk
from tlc_edge.compiler.toolchain import load_tensorflow

CALIBRATION = small_images(16)


@pytest.fixture(scope="module", autouse=True)
def _tensorflow() -> None:
    load_tensorflow()


def ranges(trunk: Trunk) -> dict[str, tuple[float, float]]:
    """Return the smallest and largest value that each layer gives, with 0 among them."""
    values: dict[int, Any] = start(trunk.model, normalised(CALIBRATION))
    found: dict[str, tuple[float, float]] = {}
    for step in steps(trunk.model):
        given = np.asarray(step.run(values))
        found[step.layer.name] = min(0.0, float(given.min())), max(0.0, float(given.max()))
        step.keep(values, given)
    return found


def read_scales(data: bytes) -> list[tuple[str, float]]:
    """Return the operations of a file with the scale of what each gives."""
    model = read_tflite(data)
    codes, graph = operation_names(), model.subgraphs[0]
    return [
        (codes[int(model.operatorCodes[op.opcodeIndex].builtinCode)], float(quantized.scale[0]))
        for op in graph.operators
        for quantized in (graph.tensors[int(op.outputs[0])].quantization,)
        if quantized is not None and quantized.scale is not None
    ]


def test_convolutions_before_a_sum_have_scales_of_their_own() -> None:
    trunk = trunk_of(residual)
    data = lower_trunk(trunk, "tflite", "int8", CALIBRATION).data
    scales = read_scales(data)
    own = ranges(trunk)
    before = [scale for (kind, scale), (after, _) in pairwise(scales) if (kind, after) == ("CONV_2D", "ADD")]
    expected = [(own[f"project{i}"][1] - own[f"project{i}"][0]) / 255 for i in range(3)]
    np.testing.assert_allclose(before, expected, rtol=0.02)
    graph = read_tflite(data).subgraphs[0]
    assert len(graph.outputs) == 1
    read = {int(i) for op in graph.operators for i in op.inputs}
    written = {int(i) for op in graph.operators for i in op.outputs}
    assert written - read == set(map(int, graph.outputs))
    assert read | written == set(range(len(graph.tensors)))


def test_a_network_without_sums_is_left_as_it_is() -> None:
    trunk = trunk_of(relu6)
    assert with_summands(trunk.model) is trunk.model
    data = lower_trunk(trunk, "tflite", "int8", CALIBRATION, ()).data
    assert first_output_only(data, output_layers(trunk.model)) is data


def test_the_layers_of_a_file_keep_their_names() -> None:
    trunk = trunk_of(residual)
    named = [
        [layer_name(tensor_name(graph.tensors[int(op.outputs[0])])) for op in graph.operators]
        for scheme in ("float32", "int8")
        for graph in (read_tflite(lower_trunk(trunk, "tflite", scheme, CALIBRATION).data).subgraphs[0],)
    ]
    layers = {step.layer.name for step in steps(trunk.model)}
    of_layers = [[name for name in names if name in layers] for names in named]
    assert of_layers[0] == of_layers[1]
    assert {"project0", "project2", "sum1"} <= set(of_layers[0])
    assert not any(name.startswith("Identity_") for name in named[1])


def test_what_a_sum_reads_becomes_an_output_once_and_the_first_stays_the_first() -> None:
    trunk = trunk_of(residual)
    wide = with_summands(trunk.model)
    assert len(wide.outputs) == 1 + 6
    np.testing.assert_array_equal(wide(normalised(CALIBRATION))[0], trunk.model(normalised(CALIBRATION)))
