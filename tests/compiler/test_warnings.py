"""Warnings: each is said when its evidence is there, and not when it is not."""

from __future__ import annotations

from typing import Any

import pytest
from report_samples import make

from tlc_edge.compiler.data.duplicates import Group
from tlc_edge.compiler.data.records import Skipped
from tlc_edge.compiler.report.page import report_html
from tlc_edge.compiler.report.warnings import find_warnings
from tlc_edge.compiler.study.learning_curve import Curve, CurvePoint
from tlc_edge.compiler.study.odd_labels import Odd


def curve(half: float, full: float) -> Curve:
    return Curve("", (CurvePoint(50, half, (half, half), 1.0), CurvePoint(100, full, (full, full), 1.0)))


# All is well: many images, a few wrong, and probabilities that say how many.
GOOD: dict[str, Any] = {
    "labels": ["king", "queen"],
    "held_out": 400,
    "wrong": tuple(range(8)),
    "sure": 0.98,
    "train": 50,
}
LOW: dict[str, Any] = {"wrong": tuple(range(80)), "sure": 0.8}  # 80 % right, and it knows


def said(**change: Any) -> dict[str, str]:
    given = {**GOOD, **change}
    findings, _ = make(given.pop("labels"), given.pop("held_out"), mapped=False, **given)
    return {w.kind: w.text for w in find_warnings(findings)}


def test_that_there_are_none_is_said_as_well() -> None:
    # Eight images were wrong at 0.98: such labels deserve a look, and that is all.
    assert said().keys() == {"suspect-labels"}
    assert said(wrong=(), sure=0.99) == {}
    page = report_html(*make(["king", "queen"], 400, train=50, sure=0.99), "photos.tlc")
    assert b"No warnings" in page
    assert b"No warnings" not in report_html(*make(["king", "queen"], 4), "photos.tlc")


@pytest.mark.parametrize(
    ("kind", "there", "not_there", "words"),
    [
        (
            "uncertain",
            {"held_out": 40, "wrong": (1,)},
            {"held_out": 400},
            "40 held-out images can only tell that it lies between 87.1 % and 99.6 %",
        ),
        (
            "few-training-images",
            {"train": (9, 50)},
            {"train": (10, 20)},
            "1 class has fewer than 10 training images: king (9)",
        ),
        (
            "hardly-judged",
            {"held_out": 5, "wrong": ()},
            {"held_out": 6, "wrong": ()},
            "1 class is judged by fewer than 3",
        ),
        (
            "weak-classes",
            {"wrong": tuple(range(0, 100, 2))},
            {"wrong": tuple(range(70))},
            "1 class is often missed: king (150 of 200 found)",
        ),
        (
            "held-back",
            {**LOW, "curve": curve(0.8, 0.8)},
            {**LOW, "curve": curve(0.7, 0.8)},
            "changed the accuracy only from 80.0 % to 80.0 %. What the frozen network sees",
        ),
        (
            "held-back",
            {**LOW, "train_accuracy": 0.82},
            {"train_accuracy": 0.82},  # the held-out images are answered well all the same
            "it gets only 82.0 % of its own training images right",
        ),
        (
            "more-images",
            {**LOW, "curve": curve(0.7, 0.8)},
            {"curve": curve(0.98, 0.985)},
            "from 50 to 100 training images, brought 10.0 points",
        ),
        (
            "suspect-labels",
            {"sure": 0.91},
            {"sure": 0.89},
            "8 held-out images are answered wrong with a probability of 0.9 or more; look at them first",
        ),
        (
            "odd-labels",
            {"odd": [Odd(3, 1, 6), Odd(60, 0, 5)]},
            {"odd": [Odd(i, 1, 6) for i in range(6)]},  # of 100: such classes overlap
            "2 training images look like another class than their own; look whether their labels are wrong",
        ),
        ("uneven-classes", {"train": (60, 20)}, {"train": (59, 20)}, "king has 60 training images, queen only 20"),
        ("miscalibrated", {**LOW, "sure": 0.99}, LOW, "the model is surer than it is right"),
        ("miscalibrated", {"sure": 0.6}, {"sure": 0.95}, "right more often than it is sure"),
        ("skipped", {"skipped": [Skipped("a/x.png", "cut short")]}, {}, "1 file could not be used; the first: a/x.png"),
        (
            "copies-in-classes",
            {"duplicates": [Group(("a/1.png", "b/2.png"), ("king", "queen"), ("train",))]},
            {"duplicates": [Group(("a/1.png", "a/2.png"), ("king",), ("train",))]},
            "1 picture is in two classes or more, so labels are wrong; the first: a/1.png, b/2.png",
        ),
        (
            "copies-in-parts",
            {"duplicates": [Group(("a/1.png", "a/2.png"), ("king",), ("train", "test"))]},
            {"duplicates": [Group(("a/1.png", "a/2.png"), ("king",), ("test",))]},
            "the accuracy flatters",
        ),
    ],
)
def test_said_with_its_evidence_only(kind: str, there: dict[str, Any], not_there: dict[str, Any], words: str) -> None:
    assert words in said(**there)[kind]
    assert kind not in said(**not_there)


def test_little_data_explains_what_looks_like_bad_probabilities() -> None:
    few = {"held_out": 6, "wrong": (0,), "sure": 0.95}
    assert "miscalibrated" not in said(**few)


def test_class_means_are_not_blamed_on_the_network() -> None:
    text = said(**LOW, train_accuracy=0.82, kind="prototype")["held-back"]
    assert text.endswith("Try --head linear.")
    assert "The head from the file does not suit" in said(**LOW, train_accuracy=0.82, kind="file")["held-back"]
    assert "Even after fine-tuning" in said(**LOW, train_accuracy=0.82, fine_tune="auto")["held-back"]
    untouched = said(**LOW, train_accuracy=0.82, fine_tune="auto", fine_tuned=False)["held-back"]
    assert "Even after" not in untouched
    assert "Fine-tuning was asked for and left the network as it was" in untouched
    assert "--fine-tune auto" in said(**LOW, train_accuracy=0.82)["held-back"]


def test_held_back_and_more_images_are_not_said_together() -> None:
    found = said(**LOW, train_accuracy=0.82, curve=curve(0.7, 0.8))
    assert "held-back" in found
    assert "more-images" not in found


def test_without_a_head() -> None:
    assert said(headless=True).keys() == set()
    assert said(headless=True, wrong=tuple(range(0, 200, 2))).keys() == {"weak-classes"}


def test_long_lists_are_cut() -> None:
    labels = [f"c{i}" for i in range(30)]
    text = said(labels=labels, held_out=300, wrong=(), train=5)["few-training-images"]
    assert text.startswith("Too little data: 30 classes have fewer than 10 training images: c0 (5), c1 (5)")
    assert text.endswith("c4 (5) and 25 more.")
