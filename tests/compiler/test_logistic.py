"""The linear head of many images or classes: the same head as scikit-learn's, whatever is in memory."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tlc_edge.compiler.train import linear, streamed
from tlc_edge.compiler.train.balance import standardize
from tlc_edge.compiler.train.logistic import Problem, tolerance
from tlc_edge.compiler.train.streamed import fit_streamed, train_streamed
from tlc_edge.compiler.train.training import FeatureView, Training, Whole

Images = tuple[list[NDArray[np.float32]], NDArray[np.int64]]


def clouds(classes: int, each: int, width: int, apart: float, seed: int = 0) -> Images:
    """Features in two views that vary far more in some directions than in others; large classes and small."""
    draw = np.random.default_rng(0)
    spread = np.geomspace(1, 0.01, width)
    centres = draw.normal(0, apart, (classes, width))
    draw = np.random.default_rng(seed)
    truth = np.repeat(np.arange(classes), [each + (c % 3) * each // 2 for c in range(classes)])
    draw.shuffle(truth)
    seen = (centres[truth] + draw.normal(0, 1, (len(truth), width))) * spread
    views = [np.asarray(seen + draw.normal(0, noise, seen.shape) * spread, np.float32) for noise in (0, 0.1)]
    return views, truth.astype(np.int64)


def whole_of(images: Images) -> Whole:
    return Whole([FeatureView(view) for view in images[0]], images[1])


@pytest.mark.parametrize("strength", [0.01, 1.0])
@pytest.mark.parametrize("width", [24, 300])  # fewer and more than the axes that are looked at, or than images
def test_it_finds_what_scikit_learn_finds(strength: float, width: int) -> None:
    from sklearn.linear_model import LogisticRegression

    views, truth = clouds(5, 20, width, 0.5)
    problem = Problem([FeatureView(view) for view in views], truth, 5)
    found = problem.solve(problem.start(), strength, 1e-4)
    mean, scale = standardize(views)
    assert np.allclose(problem.mean, mean, atol=1e-5)
    assert problem.scale == pytest.approx(scale, rel=1e-5)
    model = LogisticRegression(C=strength / 2, tol=1e-7, max_iter=10_000, class_weight="balanced")
    model.fit(np.concatenate([(view - mean) / scale for view in views]), np.tile(truth, 2))
    assert np.allclose(found.kernel.T, model.coef_, atol=0.01 * np.abs(model.coef_).max())
    assert problem.off <= 1e-4


def test_more_images_of_a_class_are_told_apart_further() -> None:
    assert tolerance(50_000, 20) == pytest.approx(0.002)
    assert tolerance(12_000, 1000) == tolerance(20, 10) == 0.01


def test_only_the_images_that_train_count() -> None:
    views, truth = clouds(4, 20, 24, 0.5)
    rows = np.flatnonzero(np.random.default_rng(0).random(len(truth)) < 0.6)
    problem = Problem([FeatureView(view) for view in views], truth, 4)
    some = problem.solve(problem.start(), 0.1, 1e-4, rows)
    changed = [view.copy() for view in views]
    for view in changed:
        view[np.setdiff1d(np.arange(len(truth)), rows)] = 7
    other = Problem([FeatureView(view) for view in changed], truth, 4)
    other.mean, other.scale = problem.mean, problem.scale
    assert np.allclose(other.solve(other.start(), 0.1, 1e-4, rows).kernel, some.kernel, atol=2e-3)
    assert not np.allclose(problem.solve(some, 0.1, 1e-4).kernel, some.kernel, atol=2e-3)


def test_many_classes_are_learned_to_the_end() -> None:
    """The gradient of 300 classes begins so small that a bound on it alone would end the search at once."""
    images = clouds(300, 6, 48, 1.2)
    head, temperature = fit_streamed(whole_of(images), 300, 0)
    assert temperature is not None
    assert head.notes["converged"]
    assert head.notes["off"] <= tolerance(len(images[1]), 300)
    asked, truth = clouds(300, 2, 48, 1.2, seed=1)
    assert np.mean(np.argmax(head.logits(asked[0]), axis=1) == truth) > 0.86


def test_one_machine_and_a_store_give_the_same_head(monkeypatch: pytest.MonkeyPatch) -> None:
    images = clouds(20, 20, 32, 0.8)
    labels = tuple(str(c) for c in range(20))
    monkeypatch.setattr(streamed, "PLENTY", 200)

    def made(whole: Whole | None, images: Images) -> Any:
        return linear.make(Training("linear", images[0], images[1], labels, 0, lambda done, total: None, whole=whole))

    held, stored = made(None, images), made(whole_of(images), ([v[:40] for v in images[0]], images[1][:40]))
    assert np.array_equal(held.layers[0].kernel, stored.layers[0].kernel)
    assert held.notes == stored.notes
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    assert np.array_equal(made(None, images).layers[0].kernel, held.layers[0].kernel)
    monkeypatch.setattr(streamed, "PLENTY", 10**9)
    assert "solver" not in made(None, images).notes


def test_what_comes_with_a_head_trains_the_like_on_other_images(monkeypatch: pytest.MonkeyPatch) -> None:
    images = clouds(10, 20, 32, 0.8)
    monkeypatch.setattr(streamed, "PLENTY", 200)
    head, fit = linear.train_linear(*images, 10, 0)
    kernel = head.layers[0].kernel
    near = 0.05 * float(np.abs(kernel).max())
    assert np.allclose(fit(*images).layers[0].kernel, kernel, atol=near)
    assert not np.allclose(fit(*clouds(10, 6, 32, 0.8)).layers[0].kernel, kernel, atol=near)


def test_some_of_many_classes_say_where_to_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    images = clouds(60, 12, 32, 0.9)
    plain = train_streamed(whole_of(images), 60, 0)
    monkeypatch.setattr(streamed, "_CLASSES", 30)
    begun = train_streamed(whole_of(images), 60, 0)
    assert begun.notes["inverse_strength"] == plain.notes["inverse_strength"]
    assert len(begun.notes["cross_validated_log_loss"]) < len(plain.notes["cross_validated_log_loss"])
    asked, truth = clouds(60, 12, 32, 0.9, seed=1)
    right = [np.mean(np.argmax(head.logits(asked[1]), axis=1) == truth) for head in (plain, begun)]
    assert abs(right[0] - right[1]) < 0.005


def test_classes_of_one_image_are_trained_on_and_not_judged_by() -> None:
    draw = np.random.default_rng(0)
    x = draw.normal(0, 1, (40, 32)).astype(np.float32)
    alone = train_streamed(Whole([FeatureView(x)], np.arange(40)), 40, 0)
    assert alone.notes["temperature"] is None
    assert alone.notes["chosen_on"] == 0
    assert np.mean(np.argmax(alone.logits(x), axis=1) == np.arange(40)) > 0.9
    mixed = train_streamed(Whole([FeatureView(x)], np.minimum(np.arange(40), 30)), 31, 0)
    assert mixed.notes["chosen_on"] == 2
    assert mixed.notes["temperature"] is not None


def test_features_that_never_change_are_no_harm() -> None:
    images = clouds(4, 20, 16, 0.8)
    flat = [np.concatenate([v, np.full((len(v), 5), 3.0, np.float32)], axis=1) for v in images[0]]
    plain, more = (train_streamed(whole_of((v, images[1])), 4, 0) for v in (images[0], flat))
    answers = [np.argmax(head.logits(x), axis=1) for head, x in ((plain, images[0][0]), (more, flat[0]))]
    assert np.mean(answers[0] == answers[1]) > 0.95
    assert np.array_equal(more.layers[0].kernel[-5:], np.zeros((5, 4), np.float32))
    same = Whole([FeatureView(np.ones((40, 8), np.float32))], np.arange(40) % 4)
    assert np.allclose(train_streamed(same, 4, 0).probabilities(np.ones((1, 8), np.float32)), 0.25, atol=1e-3)
