from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from small_networks import floats, small_backbone

from tlc_edge.compiler.backbones.shave import shave
from tlc_edge.compiler.records import Classifier, Neck, Trunk
from tlc_edge.compiler.train.neck import make_neck


@pytest.fixture(scope="module")
def trunk() -> Trunk:
    return shave(small_backbone())


@pytest.fixture(scope="module")
def train() -> NDArray[np.float32]:
    """Features [30, 12] that lie mostly in few directions, away from the origin."""
    generator = np.random.default_rng(3)
    return floats(generator, 30, 4) @ floats(generator, 4, 12) + 0.1 * floats(generator, 30, 12) + 2


def centred(trunk: Trunk) -> NDArray[np.float64]:
    assert trunk.backbone.classifier is not None
    kernel = trunk.backbone.classifier.kernel.astype(np.float64)
    return kernel - kernel.mean(axis=1, keepdims=True)


class TestClassifier:
    def test_it_spans_the_top_directions_of_the_classifier(self, trunk: Trunk, train: NDArray[np.float32]) -> None:
        neck = make_neck(trunk, train, 5)
        assert neck.kernel is not None
        assert (neck.kind, neck.width, neck.kernel.shape, neck.kernel.dtype) == ("classifier", 5, (12, 5), np.float32)
        np.testing.assert_allclose(neck.kernel.T @ neck.kernel, np.eye(5), atol=1e-6)
        # Eckart and Young 1936: no other five directions leave less of the matrix behind.
        left = centred(trunk) - neck.kernel @ (neck.kernel.T @ centred(trunk))
        values = np.linalg.svd(centred(trunk), compute_uv=False)
        np.testing.assert_allclose(np.linalg.norm(left), np.sqrt(np.sum(values[5:] ** 2)), rtol=1e-5)

    def test_the_training_mean_lands_at_the_origin(self, trunk: Trunk, train: NDArray[np.float32]) -> None:
        neck = make_neck(trunk, train, 5)
        assert np.abs(train.mean(axis=0)).min() > 1
        np.testing.assert_allclose(neck.project(train).mean(axis=0), 0, atol=1e-5)

    def test_only_the_centre_comes_from_the_data(self, trunk: Trunk, train: NDArray[np.float32]) -> None:
        first, second = make_neck(trunk, train, 5), make_neck(trunk, train[:7] * 3, 5)
        np.testing.assert_array_equal(first.kernel, second.kernel)
        assert not np.allclose(first.bias, second.bias)

    def test_a_shift_common_to_all_classes_changes_nothing(self, trunk: Trunk, train: NDArray[np.float32]) -> None:
        kept = trunk.backbone.classifier
        assert kept is not None
        shift = floats(np.random.default_rng(9), 12, 1)
        shifted = replace(trunk.backbone, classifier=Classifier(kept.kernel + shift, kept.bias))
        first, second = make_neck(trunk, train, 5), make_neck(replace(trunk, backbone=shifted), train, 5)
        np.testing.assert_allclose(first.kernel, second.kernel, atol=1e-5)

    def test_the_signs_are_settled(self, trunk: Trunk, train: NDArray[np.float32]) -> None:
        kept = trunk.backbone.classifier
        assert kept is not None
        # A matrix turned round has the same left singular vectors, up to the sign.
        negative = replace(trunk.backbone, classifier=Classifier(-kept.kernel, kept.bias))
        first, second = make_neck(trunk, train, 5), make_neck(replace(trunk, backbone=negative), train, 5)
        np.testing.assert_allclose(first.kernel, second.kernel, atol=1e-6)
        largest = np.abs(first.kernel).argmax(axis=0)
        assert (first.kernel[largest, range(5)] > 0).all()


class TestPca:
    @pytest.mark.parametrize("other", [{"pool": "max"}, {"layer": "top_conv"}])
    def test_where_the_classifier_did_not_read_these_features(
        self, trunk: Trunk, train: NDArray[np.float32], other: dict[str, str]
    ) -> None:
        assert make_neck(shave(trunk.backbone, **other), train, 5).kind == "pca"

    def test_it_keeps_the_most_variance(self, train: NDArray[np.float32]) -> None:
        neck = make_neck(shave(small_backbone(classifier=False)), train, 5)
        assert neck.kernel is not None
        assert (neck.kind, neck.kernel.shape) == ("pca", (12, 5))
        np.testing.assert_allclose(neck.kernel.T @ neck.kernel, np.eye(5), atol=1e-6)
        projected = neck.project(train)
        np.testing.assert_allclose(projected.mean(axis=0), 0, atol=1e-5)
        eigenvalues = np.linalg.eigvalsh(np.cov(train.T.astype(np.float64)))[::-1]
        np.testing.assert_allclose(np.var(projected, axis=0, ddof=1), eigenvalues[:5], rtol=1e-3)

    def test_equal_data_give_equal_necks(self, train: NDArray[np.float32]) -> None:
        trunk = shave(small_backbone(classifier=False))
        first, second = make_neck(trunk, train, 5), make_neck(trunk, train.copy(), 5)
        np.testing.assert_array_equal(first.kernel, second.kernel)


class TestNone:
    def test_where_the_features_are_narrow_enough(self, trunk: Trunk, train: NDArray[np.float32]) -> None:
        for width in (12, 256):
            neck = make_neck(trunk, train, width)
            assert (neck.kind, neck.width, neck.kernel, neck.bias) == ("none", 12, None, None)
        assert neck.project(train) is train
        assert make_neck(trunk, train, 11).kind == "classifier"

    def test_where_there_are_too_few_images_for_a_pca(self, train: NDArray[np.float32]) -> None:
        trunk = shave(small_backbone(classifier=False))
        assert make_neck(trunk, train[:5], 5).kind == "none"
        assert make_neck(trunk, train[:6], 5).kind == "pca"


def test_project() -> None:
    generator = np.random.default_rng(0)
    features, kernel, bias = floats(generator, 7, 12), floats(generator, 12, 3), floats(generator, 3)
    np.testing.assert_allclose(Neck("pca", 3, kernel, bias).project(features), features @ kernel + bias)


def test_the_real_one_costs_little_of_what_the_classifier_knew(lite0: object) -> None:
    trunk = shave(lite0)  # type: ignore[arg-type]
    neck = make_neck(trunk, np.zeros((3, 1280), np.float32))
    assert (neck.kind, neck.width) == ("classifier", 512)
    assert neck.kernel is not None
    matrix = centred(trunk)
    kept = np.linalg.norm(neck.kernel.T @ matrix) / np.linalg.norm(matrix)
    # 512 of 1280 random directions would keep the square root of two fifths, 0.63.
    assert kept > 0.9
    rooted = make_neck(trunk, np.ones((3, 1280), np.float32), root=True)
    assert rooted.root
    np.testing.assert_array_equal(rooted.kernel, neck.kernel)


@pytest.mark.parametrize(
    ("last", "reads_roots"), [("relu", True), ("relu6", True), ("swish", False), ("linear", False)]
)
def test_roots_are_taken_of_what_a_relu_gives_alone(last: str, reads_roots: bool) -> None:
    from keras import Input, Model, layers

    image = Input((8, 8, 3))
    x = layers.Conv2D(12, 3, activation=last)(image)
    made = shave(replace(small_backbone(), model=Model(image, x), default_shave=x._keras_history.operation.name))
    train = np.abs(floats(np.random.default_rng(0), 9, 12))
    neck = make_neck(made, train, 5, root=True)
    assert (neck.kind, neck.root) == ("classifier", reads_roots)
    assert not make_neck(made, train, 5).root
    np.testing.assert_allclose(neck.project(train).mean(axis=0), 0, atol=1e-5)
    without = shave(replace(made.backbone, classifier=None))
    assert not make_neck(without, train, 5, root=True).root


def test_what_is_rooted_is_the_features_and_below_zero_their_magnitude() -> None:
    generator = np.random.default_rng(0)
    kernel, bias = floats(generator, 4, 3), floats(generator, 3)
    features = np.array([[4, 0, 1, -9]], np.float32)
    found = Neck("classifier", 3, kernel, bias, root=True).project(features)
    np.testing.assert_allclose(found, np.array([[2, 0, 1, -3]], np.float32) @ kernel + bias, rtol=1e-6)
