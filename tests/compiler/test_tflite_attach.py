"""What is written behind a trunk: the tensors of a head's probabilities, as the int8 specification has them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from small_networks import LABELS, feature_map, small_fused, small_images

from tlc_edge.compiler.lower.tflite_attach import attach_tflite
from tlc_edge.compiler.lower.tflite_file import operation_names, read_tflite, tensor_name
from tlc_edge.compiler.lower.tflite_lower import lower_trunk_tflite
from tlc_edge.compiler.records import Fused

INT8, FLOAT32 = 9, 0


def attached(fused: Fused, scheme: str) -> Any:
    images = small_images(32)
    features = feature_map(fused.trunk.model, images).astype(np.float32)
    lowered = lower_trunk_tflite(fused.trunk, scheme, images if scheme == "int8" else None)
    return read_tflite(attach_tflite(lowered.data, fused.head, fused.neck, features))


def softmax(model: Any) -> tuple[Any, Any, Any]:
    """The one softmax: its options, and the tensors that it reads and gives."""
    names, (graph,) = operation_names(), model.subgraphs
    (found,) = [o for o in graph.operators if names[model.operatorCodes[o.opcodeIndex].builtinCode] == "SOFTMAX"]
    return found.builtinOptions, graph.tensors[found.inputs[0]], graph.tensors[found.outputs[0]]


@pytest.mark.parametrize("labels", [LABELS, LABELS[:2]], ids=len)
@pytest.mark.parametrize("hidden", [0, 7])
@pytest.mark.parametrize("scheme", ["int8", "float32"])
def test_a_softmax_gives_as_many_probabilities_as_there_are_labels(
    labels: tuple[str, ...], hidden: int, scheme: str
) -> None:
    options, source, made = softmax(attached(small_fused(labels, hidden), scheme))
    assert options.beta == 1.0
    assert source.shape.tolist() == made.shape.tolist() == [1, len(labels)]
    assert source.type == made.type == (INT8 if scheme == "int8" else FLOAT32)


def test_an_int8_softmax_has_the_scale_and_zero_point_of_the_specification() -> None:
    _, _, made = softmax(attached(small_fused(), "int8"))
    assert made.quantization.scale.tolist() == [1 / 256]
    assert made.quantization.zeroPoint.tolist() == [-128]


def test_a_float_softmax_gives_the_output_itself() -> None:
    model = attached(small_fused(), "float32")
    _, _, made = softmax(model)
    assert tensor_name(made) == "probabilities"
    assert made.quantization is None or made.quantization.scale is None
