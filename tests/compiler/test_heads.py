from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tlc_edge.compiler.records import Dense, Head
from tlc_edge.compiler.train import linear, mlp
from tlc_edge.compiler.train.balance import balance
from tlc_edge.compiler.train.heads import HEADS, check_head, train_head
from tlc_edge.compiler.train.linear import STRENGTHS
from tlc_edge.runtime.errors import UsageError

Data = tuple[NDArray[np.float32], NDArray[np.int64]]


def clusters(classes: int, each: int, spread: float, width: int = 16, seed: int = 0) -> Data:
    """Return features of `classes` round clusters, far from the origin as pooled features are."""
    generator = np.random.default_rng(seed)
    targets = np.repeat(np.arange(classes), each)
    centres = generator.normal(size=(classes, width)) + 4
    return (centres[targets] + spread * generator.normal(size=(len(targets), width))).astype(np.float32), targets


def train_linear(*given: Any, **options: Any) -> Head:
    """Return the head alone, without its temperature."""
    return linear.train_linear(*given, **options)[0]


def accuracy(head: Head, features: NDArray[np.float32], targets: NDArray[np.int64]) -> float:
    return float(np.mean(head.probabilities(features).argmax(axis=1) == targets))


class TestLinear:
    @pytest.mark.parametrize(("classes", "each"), [(2, 12), (3, 12), (40, 5)])
    def test_on_raw_features_it_is_sklearns_on_scaled_ones(self, classes: int, each: int) -> None:
        from sklearn.linear_model import LogisticRegression

        features, targets = clusters(classes, each, 0.7)
        head = train_linear([features], targets, classes, seed=0)
        (layer,) = head.layers
        assert (head.kind, layer.activation, layer.kernel.shape, layer.bias.shape) == (
            *("linear", "softmax"),
            *((16, classes), (classes,)),
        )
        assert (layer.kernel.dtype, layer.bias.dtype) == (np.float32, np.float32)

        mean = features.mean(axis=0, dtype=np.float64)
        scaled = ((features - mean) / np.sqrt(np.mean((features - mean) ** 2))).astype(np.float32)
        model = LogisticRegression(C=head.notes["inverse_strength"], max_iter=1000).fit(scaled, targets)
        np.testing.assert_allclose(head.probabilities(features), model.predict_proba(scaled), atol=2e-4)

    @pytest.mark.parametrize(("each", "folds"), [(3, 3), (20, 5)])
    def test_progress_counts_every_fit_of_the_cross_validation(self, each: int, folds: int) -> None:
        features, targets = clusters(2, each, 0.5)
        seen: list[tuple[int, int]] = []
        train_linear([features], targets, 2, seed=0, progress=lambda done, total: seen.append((done, total)))
        total = folds * len(STRENGTHS)
        assert seen == [(done, total) for done in range(1, total + 1)]

    def test_the_least_loss_wins_and_is_written_down(self) -> None:
        head = train_linear([clusters(4, 10, 1.0)[0]], clusters(4, 10, 1.0)[1], 4, seed=0)
        losses = head.notes["cross_validated_log_loss"]
        assert list(losses) == [str(s) for s in STRENGTHS]
        assert losses[str(head.notes["inverse_strength"])] == min(losses.values())
        assert len(set(losses.values())) > 1

    def test_noise_is_held_down_and_clear_classes_are_not(self) -> None:
        features, targets = clusters(4, 15, 0.1)
        clear = train_linear([features], targets, 4, seed=0)
        noise = train_linear([features], np.random.default_rng(0).permutation(targets), 4, seed=0)
        assert clear.notes["inverse_strength"] == max(STRENGTHS)
        assert noise.notes["inverse_strength"] == min(STRENGTHS)

    def test_the_scale_of_the_features_does_not_matter(self) -> None:
        features, targets = clusters(3, 10, 1.0)
        large = features * 256 - 512
        plain_head, large_head = (train_linear([x], targets, 3, seed=0) for x in (features, large))
        assert plain_head.notes["inverse_strength"] == large_head.notes["inverse_strength"]
        np.testing.assert_allclose(plain_head.probabilities(features), large_head.probabilities(large), atol=2e-3)

    def test_features_that_are_all_the_same_give_even_odds(self) -> None:
        features = np.full((10, 4), 3.5, np.float32)
        head = train_linear([features], np.repeat([0, 1], 5), 2, seed=0)
        np.testing.assert_allclose(head.probabilities(features), 0.5, atol=1e-3)

    def test_a_small_class_is_not_forgotten(self) -> None:
        features, targets = clusters(2, 60, 0.4)
        keep = np.arange(63)  # 60 of the one, 3 of the other
        head = train_linear([features[keep]], targets[keep], 2, seed=0)
        assert accuracy(head, features, targets) > 0.9


def recall(head: Head, features: NDArray[np.float32], targets: NDArray[np.int64], c: int) -> float:
    return accuracy(head, features[targets == c], targets[targets == c])


@pytest.mark.parametrize("kind", ["linear", "mlp", "prototype"])
def test_classes_count_the_same_however_many_images_they_have(kind: str) -> None:
    features, targets = clusters(2, 200, 3.0, width=4)
    test = np.arange(400) % 2 == 0
    train = ~test & ((targets == 0) | (np.arange(400) < 220))  # 100 of the one, 10 of the other
    head = train_head(kind, [features[train]], targets[train], "ab", seed=0)
    recalls = [recall(head, features[test], targets[test], c) for c in (0, 1)]
    assert min(recalls) >= 0.25, recalls  # without weights all are taken for the large class: 1.0 and 0.0
    assert np.bincount(targets[train]).tolist() == [100, 10]


def test_weights_are_even_where_classes_are() -> None:
    np.testing.assert_allclose(balance(np.array([2, 0, 1, 1, 2, 0])), 1.0)
    np.testing.assert_allclose(balance(np.array([0, 0, 0, 1])), [2 / 3, 2 / 3, 2 / 3, 2])


class TestViews:
    def test_the_same_view_twice_is_no_more_evidence_than_once(self) -> None:
        features, targets = clusters(3, 12, 1.0)
        once, twice = (train_linear([features] * n, targets, 3, seed=0) for n in (1, 2))
        assert once.notes["inverse_strength"] == twice.notes["inverse_strength"]
        np.testing.assert_allclose(once.probabilities(features), twice.probabilities(features), atol=2e-3)

    def test_an_image_is_not_judged_by_its_twin(self) -> None:
        # With labels of pure chance, a view in training would give away the label of its held-out twin.
        generator = np.random.default_rng(0)
        features = generator.normal(size=(40, 16)).astype(np.float32)
        head = train_linear([features, features], generator.permutation(np.repeat([0, 1], 20)), 2, seed=0)
        assert min(head.notes["cross_validated_log_loss"].values()) > 0.6  # log 2 is 0.69

    def test_what_the_device_sees_counts(self) -> None:
        # The device's view is shifted along the one direction that tells the classes apart: a head of the
        # float view alone fails on it, a head of both does not.
        targets = np.repeat([0, 1], 30)
        noise = np.random.default_rng(0).normal(size=(2, 60, 4)).astype(np.float32) * 0.1
        float_view = noise[0] + np.stack([targets, targets, 0 * targets, 0 * targets], axis=1)
        device_view = noise[1] + np.stack([targets * 0 + 1, targets, 0 * targets, 0 * targets], axis=1)
        float_view, device_view = float_view.astype(np.float32), device_view.astype(np.float32)
        alone, both = (train_linear(v, targets, 2, seed=0) for v in ([float_view], [float_view, device_view]))
        assert accuracy(both, device_view, targets) == 1.0
        assert accuracy(both, float_view, targets) == 1.0
        assert accuracy(alone, device_view, targets) < 0.95


@pytest.mark.parametrize("kind", ["linear", "mlp", "prototype"])
class TestTrained:
    @pytest.mark.parametrize(("classes", "each"), [(2, 20), (10, 30)])
    def test_it_learns_what_can_be_learned(self, kind: str, classes: int, each: int) -> None:
        features, targets = clusters(classes, 2 * each, 0.5)
        train = np.arange(len(targets)) % 2 == 0
        head = train_head(kind, [features[train]], targets[train], list(map(str, range(classes))), seed=0)
        given = head.probabilities(features[~train])
        assert (head.kind, given.shape) == (kind, (len(features) // 2, classes))
        np.testing.assert_allclose(given.sum(axis=1), 1, atol=1e-5)
        assert accuracy(head, features[~train], targets[~train]) >= 0.95

    def test_equal_seeds_give_equal_heads(self, kind: str) -> None:
        features, targets = clusters(3, 10, 1.5)
        views = [features, features + 0.01]
        first, again, other = (train_head(kind, views, targets, "abc", seed) for seed in (1, 1, 2))
        assert len(first.layers) == (2 if kind == "mlp" else 1)
        for a, b in zip(first.layers, again.layers, strict=True):
            np.testing.assert_array_equal(a.kernel, b.kernel)
            np.testing.assert_array_equal(a.bias, b.bias)
        assert first.notes == again.notes
        assert first.notes != other.notes


def test_the_steps_of_an_mlp_go_down_the_slope() -> None:
    generator = np.random.default_rng(0)
    x: Any = generator.normal(size=(12, 5))
    y = np.arange(12) % 3
    shapes: tuple[tuple[int, ...], ...] = ((5, 4), (4,), (4, 3), (3,))
    weights: list[Any] = [generator.normal(size=s) / 2 for s in shapes]  # in float64, as slopes are compared
    weighed: Any = generator.uniform(0.5, 2, 12)
    _, gradients = mlp.gradients_of(weights, x, y, weighed, 0.02)
    for i, gradient in enumerate(gradients):
        assert gradient.shape == shapes[i]
        for at in np.ndindex(*shapes[i]):
            losses: list[float] = []
            for step in (1e-6, -1e-6):
                moved = [w.copy() for w in weights]
                moved[i][at] += step
                losses.append(mlp.gradients_of(moved, x, y, weighed, 0.02)[0])
            assert abs((losses[0] - losses[1]) / 2e-6 - gradient[at]) < 1e-4


@pytest.mark.parametrize("kind", ["linear", "mlp", "prototype"])
def test_no_trained_head_needs_tensorflow(kind: str) -> None:
    assert not check_head(kind).keras
    code = (
        "import sys, numpy as np\n"
        "from tlc_edge.compiler.train.heads import train_head\n"
        "x = np.random.default_rng(0).normal(size=(20, 6)).astype('f')\n"
        f"head = train_head({kind!r}, [x], np.arange(20) % 2, 'ab', 0)\n"
        "print(head.kind, 'tensorflow' in sys.modules, 'keras' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [kind, "False", "False"]


def test_a_prototype_head_names_the_nearest_class_mean() -> None:
    features, targets = clusters(4, 10, 1.5)
    head = train_head("prototype", [features], targets, "abcd", seed=0)
    means = np.stack([features[targets == c].mean(axis=0) for c in range(4)])
    others = clusters(4, 20, 3.0, seed=0)[0]
    distances = np.linalg.norm(others[:, None] - means, axis=2)
    np.testing.assert_array_equal(head.probabilities(others).argmax(axis=1), distances.argmin(axis=1))
    assert 0.3 < head.probabilities(others).max(axis=1).mean() < 0.999  # neither undecided nor always certain


def test_no_head() -> None:
    features, targets = clusters(2, 5, 0.5)
    head = train_head("none", [features], targets, "ab", seed=0)
    assert (head.kind, head.layers, head.probabilities(features).shape) == ("none", (), (10, 0))


def test_an_unknown_kind() -> None:
    with pytest.raises(UsageError, match="unknown head 'lineal'; known: linear"):
        train_head("lineal", [], np.zeros(0, np.int64), "ab", seed=0)
    assert [kind.name for kind in HEADS] == ["linear", "mlp", "prototype", "own", "none", "FILE.keras"]
    assert all(check_head(kind.name) is kind for kind in HEADS if not kind.suffixes)


def test_dense() -> None:
    x = np.array([[1.0, -1.0]], np.float32)
    kernel, bias = np.array([[1, 2], [3, -4]], np.float32), np.array([0.5, -0.5], np.float32)
    assert Dense(kernel, bias, "linear")(x).tolist() == [[-1.5, 5.5]]
    assert Dense(kernel, bias, "relu")(x).tolist() == [[0.0, 5.5]]
    np.testing.assert_allclose(Dense(kernel, bias, "softmax")(x), [[1 / (1 + np.exp(7)), 1 / (1 + np.exp(-7))]])
    assert Dense(kernel * 1e4, bias, "softmax")(x).tolist() == [[0.0, 1.0]]
