"""Files that are int8 but for some layers, and the check that they are nothing else."""

from __future__ import annotations

import pytest
from small_networks import feature_map, small_fused, small_images

from tlc_edge.compiler.features.reference import run_keras
from tlc_edge.compiler.lower.onnx_content import check_onnx_content, read_onnx_content
from tlc_edge.compiler.lower.onnx_lower import lower_trunk_onnx, onnx_model
from tlc_edge.compiler.lower.tflite_content import check_content, read_content
from tlc_edge.compiler.lower.tflite_lower import lower_trunk_tflite, tflite_model
from tlc_edge.compiler.records import Fused
from tlc_edge.compiler.verify.judge import run_engine
from tlc_edge.compiler.verify.layer_errors import measure_layers
from tlc_edge.compiler.verify.statistics import cosines
from tlc_edge.runtime.engines.open import KINDS, open_model
from tlc_edge.runtime.errors import BuildError

CALIBRATION = small_images(16)


@pytest.fixture(scope="module")
def fused() -> Fused:
    return small_fused()


def nearness(data: bytes, form: str, fused: Fused) -> float:
    images = small_images(20, seed=3)
    engine = open_model(next(k for k in KINDS if k.format == form), data, 1)
    return float(cosines(run_engine(engine, images).embeddings, run_keras(fused, images).embeddings).min())


def test_the_layer_named_is_float_and_the_other_is_not(fused: Fused) -> None:
    data = lower_trunk_tflite(fused.trunk, "mixed", CALIBRATION, ("top_activation",)).data
    content = read_content(data)
    assert content.floats["CONV_2D"] == 1
    assert content.activations["int8"] == 2  # the other convolution, and the mean
    assert content.weights == {"int8": 6 * 27, "float32": 4 * 12 * 6}
    check_content(data, "mixed")
    with pytest.raises(BuildError, match="a file that is not int8"):
        check_content(data, "int8")
    with pytest.raises(BuildError, match="a file that is not mixed"):
        check_content(lower_trunk_tflite(fused.trunk, "int8", CALIBRATION).data, "mixed")


def test_the_same_in_onnx(fused: Fused) -> None:
    plain, floats = (lower_trunk_onnx(fused.trunk, s, CALIBRATION).data for s in ("int8", "float32"))
    errors = measure_layers((floats, "onnx"), (plain, "onnx"), CALIBRATION[:2])
    last = [e.tensor for e in errors if e.operation == "Conv"][-1]
    data = lower_trunk_onnx(fused.trunk, "mixed", CALIBRATION, (last,)).data
    content = read_onnx_content(data)
    assert content.weights == {"int8": 6 * 27, "float32": 4 * 12 * 6}
    assert content.floats["Conv"] == 1
    check_onnx_content(data, "mixed")
    with pytest.raises(BuildError, match="is not int8"):
        check_onnx_content(data, "int8")
    with pytest.raises(BuildError, match="is not mixed"):
        check_onnx_content(plain, "mixed")


@pytest.mark.parametrize(
    ("form", "layer"), [("tflite", "first_activation"), ("tflite", "top_activation"), ("onnx", "Conv_4")]
)
def test_they_answer_with_head_and_neck(fused: Fused, form: str, layer: str) -> None:
    if form == "tflite":
        trunk = lower_trunk_tflite(fused.trunk, "mixed", CALIBRATION, (layer,))
        model = tflite_model(trunk, fused, feature_map(fused.trunk.model, CALIBRATION).astype("float32"))
    else:
        model = onnx_model(lower_trunk_onnx(fused.trunk, "mixed", CALIBRATION, (layer,)), fused)
    assert model.info.scheme == "mixed"
    assert 0.99 < nearness(model.data, form, fused) < 1 - 1e-9


def test_a_layer_that_there_is_not(fused: Fused) -> None:
    with pytest.raises(BuildError, match="none of the layers nowhere"):
        lower_trunk_tflite(fused.trunk, "mixed", CALIBRATION, ("nowhere",))
