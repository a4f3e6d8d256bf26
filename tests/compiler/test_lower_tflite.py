"""The lowered files answer as the float graph does, whatever head and neck are attached to the trunk."""

from __future__ import annotations

import numpy as np
import pytest
from small_networks import LABELS, feature_map, small_fused, small_images

from tlc_edge.compiler.features.reference import run_keras
from tlc_edge.compiler.lower.tflite_lower import lower_trunk_tflite, tflite_model
from tlc_edge.compiler.records import Fused, LoweredTrunk, Outputs
from tlc_edge.compiler.verify.judge import run_engine
from tlc_edge.compiler.verify.statistics import cosines
from tlc_edge.runtime.engines.open import KINDS, open_model, outputs_for
from tlc_edge.runtime.errors import BuildError

CALIBRATION = small_images(32, seed=9)


@pytest.fixture(scope="module")
def trunks() -> dict[str, LoweredTrunk]:
    trunk = small_fused().trunk
    return {scheme: lower_trunk_tflite(trunk, scheme, CALIBRATION) for scheme in ("float32", "int8")}


def features_of(fused: Fused) -> np.ndarray:
    return feature_map(fused.trunk.model, CALIBRATION).astype(np.float32)


def answers(data: bytes, labels: tuple[str, ...], images: np.ndarray) -> Outputs:
    return run_engine(open_model(KINDS[0], data, 1, outputs_for(labels), file="model.tflite"), images)


HEADS = {
    "linear": {},
    "mlp": {"hidden": 7},
    "no neck": {"neck": False},
    "no head": {"labels": ()},
    "neither": {"labels": (), "neck": False},
}


@pytest.mark.parametrize("head", HEADS)
class TestAttached:
    def test_float32_is_the_float_graph(self, trunks: dict[str, LoweredTrunk], head: str) -> None:
        fused, images = small_fused(**HEADS[head]), small_images(6)  # type: ignore[arg-type]
        model = tflite_model(trunks["float32"], fused, features_of(fused))
        found, reference = answers(model.data, fused.labels, images), run_keras(fused, images)
        assert found.probabilities.shape == (6, len(fused.labels))
        np.testing.assert_allclose(found.probabilities, reference.probabilities, atol=1e-5)
        np.testing.assert_allclose(found.embeddings, reference.embeddings, atol=1e-4)

    def test_int8_is_near_it(self, trunks: dict[str, LoweredTrunk], head: str) -> None:
        fused, images = small_fused(**HEADS[head]), small_images(40)  # type: ignore[arg-type]
        model = tflite_model(trunks["int8"], fused, features_of(fused))
        found, reference = answers(model.data, fused.labels, images), run_keras(fused, images)
        assert cosines(found.embeddings, reference.embeddings).min() > 0.99
        if fused.labels:
            errors = np.abs(found.probabilities - reference.probabilities)
            assert errors.max() < 0.15
            assert 0 < errors.mean() < 0.02  # not 0: it is another file
        assert (model.info.scheme, model.info.bytes) == ("int8", len(model.data))


def test_one_trunk_serves_many_heads(trunks: dict[str, LoweredTrunk]) -> None:
    before = trunks["int8"].data
    first, second = small_fused(), small_fused(hidden=7)
    one = tflite_model(trunks["int8"], first, features_of(first)).data
    tflite_model(trunks["int8"], second, features_of(second))
    assert trunks["int8"].data == before
    assert tflite_model(trunks["int8"], first, features_of(first)).data == one


def test_two_lowerings_in_one_process_are_equal_to_the_byte(trunks: dict[str, LoweredTrunk]) -> None:
    trunk = small_fused().trunk
    for scheme, first in trunks.items():
        assert lower_trunk_tflite(trunk, scheme, CALIBRATION).data == first.data
    assert lower_trunk_tflite(trunk, "int8", CALIBRATION // 4).data != trunks["int8"].data


def test_the_calibration_images_are_left_alone(trunks: dict[str, LoweredTrunk]) -> None:
    # The lowering paints a black and a white pixel, into a copy.
    images = np.full((4, 8, 8, 3), 100, np.uint8)
    lower_trunk_tflite(small_fused().trunk, "int8", images)
    assert (images == 100).all()


def test_an_unlikely_class_is_not_called_likely(trunks: dict[str, LoweredTrunk]) -> None:
    # Logits far apart: the range is cut off where a probability is as good as zero.
    from dataclasses import replace

    fused, images = small_fused(), small_images(20)
    (layer,) = fused.head.layers
    steep = replace(fused.head, layers=(replace(layer, kernel=layer.kernel * 40, bias=layer.bias * 40),))
    fused = Fused(fused.trunk, fused.neck, steep, LABELS, fused.preprocessing)
    found = answers(tflite_model(trunks["int8"], fused, features_of(fused)).data, LABELS, images)
    reference = run_keras(fused, images)
    assert reference.probabilities.max(axis=1).min() > 0.9
    np.testing.assert_array_equal(found.probabilities.argmax(axis=1), reference.probabilities.argmax(axis=1))
    np.testing.assert_allclose(found.probabilities, reference.probabilities, atol=0.1)


def test_a_scheme_that_tflite_has_not() -> None:
    with pytest.raises(BuildError, match="scheme 'int4' has no TFLite lowering; choose float32, float16, "):
        lower_trunk_tflite(small_fused().trunk, "int4", CALIBRATION)


@pytest.mark.parametrize(
    ("scheme", "cosine", "difference"), [("float16", 0.9999, 1e-3), ("dynamic", 0.9999, 1e-3), ("int16x8", 0.999, 0.05)]
)
@pytest.mark.parametrize("hidden", [0, 7])
def test_the_schemes_between(scheme: str, cosine: float, difference: float, hidden: int) -> None:
    fused, images = small_fused(hidden=hidden), small_images(20, seed=3)
    trunk = lower_trunk_tflite(fused.trunk, scheme, CALIBRATION)
    model = tflite_model(trunk, fused, features_of(fused))
    found, reference = answers(model.data, fused.labels, images), run_keras(fused, images)
    assert model.info.scheme == scheme
    assert cosines(found.embeddings, reference.embeddings).min() > cosine
    np.testing.assert_allclose(found.probabilities, reference.probabilities, atol=difference)
