from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from tlc.compiler.heads import STRENGTHS, softmax, train_linear

Data = tuple[NDArray[np.float32], NDArray[np.int64]]


def clusters(classes: int, each: int, spread: float, width: int = 16, seed: int = 0) -> Data:
    """Return features of `classes` round clusters, far from the origin as pooled features are."""
    generator = np.random.default_rng(seed)
    targets = np.repeat(np.arange(classes), each)
    centres = generator.normal(size=(classes, width)) + 4
    return (centres[targets] + spread * generator.normal(size=(len(targets), width))).astype(np.float32), targets


def accuracy(probabilities: NDArray[np.float64], targets: NDArray[np.int64]) -> float:
    return float(np.mean(probabilities.argmax(axis=1) == targets))


@pytest.mark.parametrize(("classes", "each"), [(2, 12), (3, 12), (40, 5)])
def test_the_head_on_raw_features_is_sklearns_on_scaled_ones(classes: int, each: int) -> None:
    from sklearn.linear_model import LogisticRegression

    features, targets = clusters(classes, each, 0.7)
    head = train_linear(features, targets, classes, seed=0)
    assert (head.kind, head.kernel.shape, head.bias.shape) == ("linear", (16, classes), (classes,))
    assert (head.kernel.dtype, head.bias.dtype) == (np.float32, np.float32)

    mean = features.mean(axis=0, dtype=np.float64)
    scaled = (features - mean) / np.sqrt(np.mean((features - mean) ** 2))
    model = LogisticRegression(C=head.notes["inverse_strength"], max_iter=1000).fit(scaled.astype(np.float32), targets)
    np.testing.assert_allclose(
        softmax(features @ head.kernel + head.bias), model.predict_proba(scaled.astype(np.float32)), atol=2e-4
    )


@pytest.mark.parametrize(("classes", "each", "least"), [(2, 20, 0.95), (10, 20, 0.95), (10, 110, 0.95)])
def test_it_learns_what_can_be_learned(classes: int, each: int, least: float) -> None:
    # The last has more than a thousand images: one split in place of five folds.
    features, targets = clusters(classes, 2 * each, 0.5)
    train = np.arange(len(targets)) % 2 == 0
    head = train_linear(features[train], targets[train], classes, seed=0)
    assert accuracy(softmax(features[~train] @ head.kernel + head.bias), targets[~train]) >= least


@pytest.mark.parametrize(("each", "folds"), [(3, 3), (20, 5), (500, 1)])
def test_progress_counts_every_fit_of_the_cross_validation(each: int, folds: int) -> None:
    features, targets = clusters(2, each, 0.5)
    seen: list[tuple[int, int]] = []
    train_linear(features, targets, 2, seed=0, progress=lambda done, total: seen.append((done, total)))
    total = folds * len(STRENGTHS)
    assert seen == [(done, total) for done in range(1, total + 1)]


def test_equal_seeds_give_equal_heads_and_others_other_folds() -> None:
    features, targets = clusters(3, 10, 1.5)
    first, again, other = (train_linear(features, targets, 3, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.kernel, again.kernel)
    np.testing.assert_array_equal(first.bias, again.bias)
    assert first.notes == again.notes
    assert first.notes["cross_validated_log_loss"] != other.notes["cross_validated_log_loss"]


class TestStrength:
    def test_the_least_loss_wins_and_is_written_down(self) -> None:
        head = train_linear(*clusters(4, 10, 1.0), 4, seed=0)
        losses = head.notes["cross_validated_log_loss"]
        assert list(losses) == [str(s) for s in STRENGTHS]
        assert losses[str(head.notes["inverse_strength"])] == min(losses.values())

    def test_noise_is_held_down_and_clear_classes_are_not(self) -> None:
        features, targets = clusters(4, 15, 0.1)
        clear = train_linear(features, targets, 4, seed=0)
        noise = train_linear(features, np.random.default_rng(0).permutation(targets), 4, seed=0)
        assert clear.notes["inverse_strength"] == max(STRENGTHS)
        assert noise.notes["inverse_strength"] == min(STRENGTHS)

    def test_the_scale_of_the_features_does_not_matter(self) -> None:
        features, targets = clusters(3, 10, 1.0)
        plain = train_linear(features, targets, 3, seed=0)
        large = train_linear(features * 256 - 512, targets, 3, seed=0)
        assert plain.notes["inverse_strength"] == large.notes["inverse_strength"]
        np.testing.assert_allclose(
            softmax(features @ plain.kernel + plain.bias),
            softmax((features * 256 - 512) @ large.kernel + large.bias),
            atol=2e-3,
        )


def test_features_that_are_all_the_same_give_even_odds() -> None:
    features = np.full((10, 4), 3.5, np.float32)
    head = train_linear(features, np.repeat([0, 1], 5), 2, seed=0)
    np.testing.assert_allclose(softmax(features @ head.kernel + head.bias), 0.5, atol=1e-3)


def test_an_uneven_class_is_not_forgotten() -> None:
    features, targets = clusters(2, 60, 0.4)
    keep = np.flatnonzero((targets == 0) | (np.arange(120) < 63))  # 60 of the one, 3 of the other
    head = train_linear(features[keep], targets[keep], 2, seed=0)
    assert accuracy(softmax(features @ head.kernel + head.bias), targets) > 0.9


def test_softmax() -> None:
    logits = np.array([[0.0, np.log(3.0)], [1000.0, 1000.0], [-1e4, 0.0]], np.float32)
    np.testing.assert_allclose(softmax(logits), [[0.25, 0.75], [0.5, 0.5], [0.0, 1.0]], atol=1e-7)
