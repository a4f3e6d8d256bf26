from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from small_networks import LABELS, fused_with, small_fused, small_images

from tlc_edge.compiler.backbones.shave import shave
from tlc_edge.compiler.features.reference import run_keras
from tlc_edge.compiler.lower.onnx_lower import OPSET, lower_trunk_onnx, onnx_model
from tlc_edge.compiler.records import Backbone, Fused
from tlc_edge.compiler.verify.statistics import cosines
from tlc_edge.runtime import Bundle
from tlc_edge.runtime.errors import BuildError
from tlc_edge.targets.schemes import names

CALIBRATION = small_images(32, seed=9)


def lowered(fused: Fused) -> bytes:
    return onnx_model(lower_trunk_onnx(fused.trunk), fused).data


def session(data: bytes):
    import onnxruntime

    return onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])


def described(items) -> list[tuple[str, str, list]]:
    return [(i.name, i.type, i.shape) for i in items]


@pytest.fixture(scope="module")
def small() -> Fused:
    return small_fused()


@pytest.fixture(scope="module")
def small_onnx(small: Fused) -> bytes:
    return lowered(small)


def test_names_types_and_a_dynamic_batch(small_onnx: bytes) -> None:
    ran = session(small_onnx)
    assert described(ran.get_inputs()) == [("image", "tensor(uint8)", ["batch", 8, 8, 3])]
    assert described(ran.get_outputs()) == [
        ("probabilities", "tensor(float)", ["batch", 3]),
        ("embedding", "tensor(float)", ["batch", 5]),
    ]


def test_the_record_says_what_the_file_is(small: Fused) -> None:
    model = onnx_model(lower_trunk_onnx(small.trunk), small)
    assert (model.info.file, model.info.format, model.info.scheme) == ("model.onnx", "onnx", "float32")
    assert model.info.bytes == len(model.data)


def test_labels_and_preprocessing_travel_in_the_metadata(small_onnx: bytes) -> None:
    import onnx

    model = onnx.load_from_string(small_onnx)
    onnx.checker.check_model(model, full_check=True)
    found = {entry.key: json.loads(entry.value) for entry in model.metadata_props}
    assert found["labels"] == list(LABELS)
    assert (found["preprocessing"]["height"], found["preprocessing"]["filter"]) == (8, "bilinear")
    assert {o.domain: o.version for o in model.opset_import}[""] == OPSET
    assert (model.producer_name, model.graph.name) == ("tlc", "small")
    assert all(node.domain in ("", "ai.onnx") for node in model.graph.node)


@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize(("hidden", "neck"), [(0, True), (7, False)])
def test_it_answers_as_keras_does(count: int, hidden: int, neck: bool) -> None:
    fused, images = small_fused(hidden=hidden, neck=neck), small_images(count)
    probabilities, embedding = session(lowered(fused)).run(None, {"image": images})
    reference = run_keras(fused, images)
    np.testing.assert_allclose(probabilities, reference.probabilities, atol=1e-5)
    np.testing.assert_allclose(embedding, reference.embeddings, atol=1e-4)


def test_the_whole_network_answers_as_keras_does(lite0: Backbone) -> None:
    fused, generator = fused_with(shave(lite0)), np.random.default_rng(0)
    images = generator.integers(0, 256, (2, 224, 224, 3), np.uint8)
    probabilities, embedding = session(lowered(fused)).run(None, {"image": images})
    reference = run_keras(fused, images)
    np.testing.assert_allclose(probabilities, reference.probabilities, atol=1e-4)
    np.testing.assert_allclose(embedding, reference.embeddings, rtol=1e-4, atol=1e-4)


def test_without_a_head_there_is_one_output() -> None:
    fused, images = small_fused(labels=()), small_images(2)
    ran = session(lowered(fused))
    assert described(ran.get_outputs()) == [("embedding", "tensor(float)", ["batch", 5])]
    np.testing.assert_allclose(ran.run(None, {"image": images})[0], run_keras(fused, images).embeddings, atol=1e-4)


@pytest.mark.parametrize("scheme", names("onnx"))
def test_a_neck_that_reads_square_roots(small: Fused, scheme: str) -> None:
    fused = replace(small, neck=replace(small.neck, root=True))
    images = small_images(12)
    trunk = lower_trunk_onnx(fused.trunk, scheme, images)
    ran = session(onnx_model(trunk, fused).data)
    features = session(trunk.data).run(None, {"image": images})[0]
    expected = fused.neck.project(features)
    found = ran.run(["embedding"], {"image": images})[0]
    np.testing.assert_allclose(found, expected, atol=(0.03 if scheme == "int8" else 1e-2) * np.abs(expected).max())


def test_two_lowerings_in_one_process_are_equal_to_the_byte(small: Fused, small_onnx: bytes) -> None:
    assert lowered(small) == small_onnx
    assert lowered(small_fused()) == small_onnx
    assert lowered(small_fused(hidden=7)) != small_onnx


def test_the_bundles_own_file(bundle: Bundle) -> None:
    ran = session(bundle.read("model.onnx"))
    assert described(ran.get_inputs()) == [("image", "tensor(uint8)", ["batch", 224, 224, 3])]
    assert described(ran.get_outputs()) == [
        ("probabilities", "tensor(float)", ["batch", 4]),
        ("embedding", "tensor(float)", ["batch", 512]),
    ]
    found = ran.get_modelmeta().custom_metadata_map
    assert json.loads(found["labels"]) == list(bundle.manifest.labels)


def test_a_scheme_that_onnx_has_not(small: Fused) -> None:
    with pytest.raises(BuildError, match="scheme 'int16x8' has no ONNX lowering; choose float32, float16, int8"):
        lower_trunk_onnx(small.trunk, "int16x8")


# How far probabilities and embeddings may be off; int8 must be off by something, or it is not int8.
NEAR = {"float16": (1e-3, 0.9999), "int8": (0.05, 0.999)}


@pytest.mark.parametrize("scheme", NEAR)
@pytest.mark.parametrize(("labels", "hidden", "neck"), [(LABELS, 0, True), (LABELS, 7, False), ((), 0, True)])
def test_the_smaller_schemes_answer_nearly_as_keras_does(
    scheme: str, labels: tuple[str, ...], hidden: int, neck: bool
) -> None:
    fused, images = small_fused(labels, hidden, neck), small_images(20, seed=3)
    model = onnx_model(lower_trunk_onnx(fused.trunk, scheme, CALIBRATION), fused)
    assert model.info.scheme == scheme
    *probabilities, embedding = session(model.data).run(None, {"image": images})  # twenty at once
    reference = run_keras(fused, images)
    difference, cosine = NEAR[scheme]
    assert 1 - 1e-9 > cosines(embedding, reference.embeddings).min() > cosine
    if probabilities:
        assert 0 < np.abs(probabilities[0] - reference.probabilities).max() < difference


@pytest.mark.parametrize("scheme", NEAR)
def test_the_smaller_schemes_are_equal_to_the_byte_too(small: Fused, scheme: str) -> None:
    first = lower_trunk_onnx(small.trunk, scheme, CALIBRATION).data
    assert lower_trunk_onnx(small_fused().trunk, scheme, CALIBRATION).data == first
    again = lower_trunk_onnx(small.trunk, scheme, CALIBRATION // 4).data
    assert (again == first) == (scheme == "float16")  # which has no ranges to set


def test_images_are_asked_for_where_ranges_are_set(small: Fused) -> None:
    with pytest.raises(BuildError, match="int8 needs calibration images"):
        lower_trunk_onnx(small.trunk, "int8")
