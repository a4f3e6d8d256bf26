"""The temperature: probabilities that mean what they say, answers that stay as they were."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from test_heads import clusters

from tlc_edge.compiler.records import Dense, Floats, Head
from tlc_edge.compiler.train.balance import folds
from tlc_edge.compiler.train.heads import train_head
from tlc_edge.compiler.train.temperature import best_temperature, tempered, with_temperature


def log_loss(head: Head, features: Floats, targets: NDArray[np.int64]) -> float:
    return float(-np.mean(np.log(head.probabilities(features)[np.arange(len(targets)), targets])))


def with_noise(logits: Floats, factor: float) -> tuple[Floats, NDArray[np.int64]]:
    """Return logits that are `factor` too sure, and classes drawn by those that are not."""
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    generator = np.random.default_rng(1)
    return factor * logits, np.array([generator.choice(p.shape[1], p=row) for row in p])


@pytest.mark.parametrize("factor", [0.25, 1.0, 5.0])
def test_a_known_factor_is_found(factor: float) -> None:
    logits = np.random.default_rng(0).normal(0, 2, (4000, 4)).astype(np.float32)
    assert best_temperature(*with_noise(logits, factor)) == pytest.approx(factor, rel=0.12)


def test_it_stays_in_its_range() -> None:
    right = np.eye(3, dtype=np.float32)[[0, 1, 2, 0]]
    assert best_temperature(right, np.array([0, 1, 2, 0])) == pytest.approx(0.1, rel=0.01)
    assert best_temperature(right, np.array([1, 2, 0, 2])) == pytest.approx(10, rel=0.01)


def test_no_answer_changes_and_other_layers_stay() -> None:
    generator = np.random.default_rng(0)
    layers = tuple(Dense(generator.normal(size=(5, 5)).astype("f"), np.ones(5, "f"), a) for a in ("relu", "softmax"))
    head, x = Head("mlp", layers, {"epochs": 3}), generator.normal(size=(50, 5)).astype("f")
    cooler = tempered(head, 2.5)
    np.testing.assert_allclose(cooler.logits(x), head.logits(x) / 2.5, rtol=1e-5)
    assert (cooler.layers[0], cooler.notes) == (head.layers[0], head.notes)
    np.testing.assert_array_equal(cooler.probabilities(x).argmax(axis=1), head.probabilities(x).argmax(axis=1))


@pytest.mark.parametrize(
    ("kind", "each"), [("linear", 12), ("linear", 400), ("prototype", 12), ("prototype", 400), ("mlp", 400)]
)
def test_a_head_is_as_sure_as_it_is_right(kind: str, each: int) -> None:
    features, targets = clusters(3, 2 * each, 3.0, width=4)
    test = np.arange(len(targets)) % 2 == 0
    head = train_head(kind, [features[~test]], targets[~test], "abc", seed=0)
    sure = head.probabilities(features[test]).max(axis=1).mean()
    right = np.mean(head.probabilities(features[test]).argmax(axis=1) == targets[test])
    assert head.notes["temperature"] > 0
    assert abs(sure - right) < (0.05 if each == 400 else 0.2), (sure, right)
    assert log_loss(head, features[test], targets[test]) < np.log(3)


def test_an_image_is_judged_by_heads_that_did_not_see_it() -> None:
    # A head that learns its images by heart is always sure and always right about them.
    def by_heart(views: Sequence[Floats], targets: NDArray[np.int64]) -> Head:
        seen.append(len(targets))
        kernel = np.zeros((8, 2), np.float32)
        np.add.at(kernel.T, targets, 20 * views[0])
        return Head("linear", (Dense(kernel, np.zeros(2, np.float32), "softmax"),))

    seen: list[int] = []
    one_hot = np.eye(8, dtype=np.float32)
    targets = np.array([0, 1] * 4)
    head = with_temperature(by_heart([one_hot], targets), by_heart, [one_hot], targets, seed=0)
    assert seen == [8, 6, 6, 6, 6]
    assert head.notes["temperature"] == pytest.approx(10, rel=0.01)  # what it had not seen, it knew nothing of


def test_a_class_of_one_image_leaves_nothing_out() -> None:
    features, targets = clusters(2, 4, 0.5)
    head = train_head("prototype", [features[:5]], targets[:5], "ab", seed=0)
    assert head.notes["temperature"] is None


@pytest.mark.parametrize("seed", range(40))
def test_the_folds_are_those_of_scikit_learn(seed: int) -> None:
    from sklearn.model_selection import StratifiedKFold

    rng = np.random.default_rng(seed)
    count, classes = int(rng.integers(2, 6)), int(rng.integers(2, 9))
    more = rng.integers(0, classes, rng.integers(0, 60))
    targets = rng.permutation(np.concatenate([np.arange(classes).repeat(count), more]))
    theirs = StratifiedKFold(count, shuffle=True, random_state=seed).split(targets, targets)
    for (train, held_out), (other, rest) in zip(folds(targets, count, seed), theirs, strict=True):
        np.testing.assert_array_equal(train, other)
        np.testing.assert_array_equal(held_out, rest)
