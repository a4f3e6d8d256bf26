"""The whitened neck: what varies within the classes counts for less, what tells them apart for more."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from tlc_edge.compiler.records import Neck
from tlc_edge.compiler.train.whiten import SHRINKAGE, scatter, whiten, whitening
from tlc_edge.runtime.vectors import unit_rows

CLASSES = np.repeat(np.arange(10), 20)
DEVIATION = np.array([5, 1, 1, 1, 1, 1])


def scattered(seed: int, centres: NDArray[np.float64], classes: NDArray[np.int64] = CLASSES) -> NDArray[np.float32]:
    """Rows around their class's centre, five times as far along the first axis as along the others."""
    rng = np.random.default_rng(seed)
    return (centres[classes] + DEVIATION * rng.normal(size=(len(classes), 6))).astype(np.float32)


def centres(seed: int) -> NDArray[np.float64]:
    return 3 * np.random.default_rng(seed).normal(size=(10, 6))


def right(neck: Neck, seed: int) -> float:
    """How often the nearest of one example per class is that of the right class, for classes that are new."""
    new = centres(seed)
    a = unit_rows(neck.project(scattered(seed + 1, new, np.arange(10))))
    b = unit_rows(neck.project(scattered(seed + 2, new)))
    return float(np.mean((b @ a.T).argmax(axis=1) == CLASSES))


@pytest.fixture
def neck() -> Neck:
    rotation = np.linalg.qr(np.random.default_rng(8).normal(size=(6, 6)))[0].astype(np.float32)
    return Neck("pca", 6, rotation, np.zeros(6, np.float32))


def test_classes_that_it_never_saw_are_told_apart_better(neck: Neck) -> None:
    white = whiten(neck, [scattered(0, centres(0))], CLASSES)
    assert (
        np.mean([right(white, s) for s in range(1, 90, 3)]) > np.mean([right(neck, s) for s in range(1, 90, 3)]) + 0.05
    )


def test_the_scatter_becomes_that_of_a_sphere_as_far_as_the_shrinkage_lets_it(neck: Neck) -> None:
    train = scattered(0, centres(0))
    white = whiten(neck, [train], CLASSES)
    assert (white.kind, white.width) == (neck.kind, neck.width)

    def within(n: Neck) -> NDArray[np.float64]:
        e = n.project(train).astype(np.float64)
        e -= np.array([e[c == CLASSES].mean(axis=0) for c in range(10)])[CLASSES]
        return np.linalg.eigvalsh(e.T @ e / len(e))

    before, after = within(neck), within(white)
    size = before.mean()
    np.testing.assert_allclose(
        np.sort(after), np.sort(before / ((1 - SHRINKAGE) * before / size + SHRINKAGE)), rtol=1e-4
    )
    assert after[-1] / after[0] < before[-1] / before[0] / 2


def test_the_training_mean_stays_at_the_origin(neck: Neck) -> None:
    train = scattered(0, centres(0)) + 7
    bias = -(train.mean(axis=0, dtype=np.float64) @ neck.kernel).astype(np.float32)
    white = whiten(Neck("pca", 6, neck.kernel, bias), [train], CLASSES)
    np.testing.assert_allclose(white.project(train).mean(axis=0), 0, atol=1e-4)


def test_views_of_the_same_images_count_together(neck: Neck) -> None:
    train = scattered(0, centres(0))
    noisy = train + np.random.default_rng(1).normal(0, [0, 0, 0, 0, 0, 4], train.shape).astype(np.float32)
    twice, once = (whiten(neck, views, CLASSES) for views in ([train, train], [train]))
    np.testing.assert_allclose(twice.kernel, once.kernel, atol=1e-5)
    last = np.array([[0, 0, 0, 0, 0, 1]], np.float32)

    def size(n: Neck) -> float:
        return float(np.linalg.norm(last @ n.kernel))

    assert size(whiten(neck, [train, noisy], CLASSES)) < 0.9 * size(once)


def test_what_there_is_nothing_to_whiten_by_is_left_alone(neck: Neck) -> None:
    bare = Neck("none", 6)
    assert whiten(bare, [scattered(0, centres(0))], CLASSES) is bare
    alike = np.tile(np.arange(6, dtype=np.float32), (4, 1))
    np.testing.assert_array_equal(whiten(neck, [alike], np.array([0, 0, 1, 1])).kernel, neck.kernel)
    every = scatter(scattered(0, centres(0), np.arange(10)), np.arange(10), 10)
    np.testing.assert_array_equal(whitening(every), np.eye(6))


def test_of_some_of_the_images_it_is_that_of_all_less_that_of_the_others() -> None:
    rows, out = scattered(0, centres(0)), np.arange(len(CLASSES)) % 20 < 3
    out[CLASSES == 4] = True  # a class goes whole
    every, those = scatter(rows, CLASSES, 10), scatter(rows[out], CLASSES[out], 10)
    np.testing.assert_allclose(
        whitening(every - those), whitening(scatter(rows[~out], CLASSES[~out], 10)), rtol=0, atol=1e-9
    )
    within = np.concatenate([rows[c == CLASSES] - rows[c == CLASSES].mean(axis=0) for c in range(10)]).astype(float)
    covariance = SHRINKAGE * np.eye(6) + (1 - SHRINKAGE) * 6 * within.T @ within / np.trace(within.T @ within)
    root = whitening(every)
    np.testing.assert_allclose(root @ covariance @ root, np.eye(6), atol=1e-4)


def test_equal_images_give_equal_necks(neck: Neck) -> None:
    train = scattered(0, centres(0))
    np.testing.assert_array_equal(
        whiten(neck, [train], CLASSES).kernel, whiten(neck, [train.copy()], CLASSES + 3).kernel
    )
