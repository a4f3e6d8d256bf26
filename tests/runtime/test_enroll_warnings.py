"""Warnings at enrolment: they say what is wrong, and say nothing about what is right."""

from __future__ import annotations

import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from tlc_edge.runtime import Classifier
from tlc_edge.runtime.bundle.bundle import Exemplars
from tlc_edge.runtime.errors import UsageError
from tlc_edge.runtime.knn.bank import Bank
from tlc_edge.runtime.knn.enroll_warnings import NewExample, blur_limit, lookalikes, sharpness, sharpness_of_files

RNG = np.random.default_rng(0)


def texture(size: int = 64) -> np.ndarray:
    shade = RNG.integers(0, 256, (size // 2, size // 2)).astype(np.uint8)
    return np.asarray(Image.fromarray(shade).resize((size, size), Image.Resampling.BICUBIC).convert("RGB"))


def blurred(pixels: np.ndarray, radius: float) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(radius)))


# Sharpness


def test_sharpness_falls_with_blur_and_not_with_contrast_or_brightness() -> None:
    image = texture()
    sharp = [sharpness(blurred(image, radius)) for radius in (0, 1, 2)]
    assert all(a is not None and b is not None and a > b + 0.2 for a, b in pairwise(sharp))
    dim = (image.astype(np.float32) * 0.5 + 60).astype(np.uint8)
    assert sharpness(dim) == pytest.approx(sharp[0], abs=0.02)
    assert sharpness(image[..., :1]) == pytest.approx(sharp[0], abs=0.2)


def test_an_even_or_tiny_image_has_no_sharpness() -> None:
    for pixels in (np.full((32, 32, 3), 80, np.uint8), np.zeros((1, 1, 3), np.uint8), np.zeros((2, 40, 1), np.uint8)):
        assert sharpness(pixels) is None


def test_files_that_cannot_be_read_are_no_references(photos: Path) -> None:
    files = [p.read_bytes() for p in sorted((photos / "0").iterdir())[:3]]
    assert len(sharpness_of_files([b"", b"text", files[0], files[1][:90], files[2]])) == 2


def test_the_limit_follows_the_references() -> None:
    assert blur_limit([-1.0, -1.1, -0.9]) == -np.inf
    assert blur_limit([-1.0] * 4) == pytest.approx(-1.4)
    wide = blur_limit([-1.0, -0.5, -1.5, -1.0, -0.2, -1.8])
    assert wide < -1.8


# Like another class


def unit(*degrees: float) -> np.ndarray:
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def bank() -> Bank:
    """`cup` around 0 degrees, its rows 2 apart, and `pen` around 90, its rows 20 apart; `one` alone at 200."""
    rows = unit(-4, -2, 0, 2, 4, 70, 90, 110, 200)
    return Bank(Exemplars(rows, np.array([0] * 5 + [1] * 3 + [2])), ("cup", "pen", "one"))


def seen(*degrees: float) -> list[NewExample]:
    return [NewExample(f"{d}", "0" * 64, v * 7, None) for d, v in zip(degrees, unit(*degrees), strict=True)]


@pytest.mark.parametrize(
    ("label", "degrees", "expected"),
    [
        ("new", (1.0,), ["cup"]),  # as near as cups are to each other
        ("new", (10.0,), [None]),  # not so near
        ("new", (75.0,), ["pen"]),  # near, for a pen
        ("cup", (1.0,), [None]),  # what it is said to be
        ("cup", (85.0,), ["pen"]),
        ("new", (201.0,), [None]),  # what is near to a single example has no measure
        ("new", (140.0, 141.0, 1.0), [None, None, "cup"]),  # an intruder
        ("new", (140.0, 141.0, 142.0), [None, None, None]),
        ("new", (0.5, 1.0, 1.5), ["cup", "cup", "cup"]),  # all of them, though they are near to each other
        ("new", (0.5, 1.0, 1.5, 140.0, 141.0), ["cup", "cup", "cup", None, None]),  # most of them
        ("new", (0.5, 1.0, 140.0, 141.0), [None] * 4),  # half of them, and near to each other
        ("new", (0.5, 1.0, 140.0, 141.0, 142.0), [None] * 5),
    ],
)
def test_what_looks_like_another_class(label: str, degrees: tuple[float, ...], expected: list[str | None]) -> None:
    assert lookalikes(label, seen(*degrees), bank()) == expected


def test_an_empty_bank_finds_nothing_alike() -> None:
    empty = Bank(Exemplars(np.zeros((0, 2), np.float32), np.zeros(0, np.int64)), ())
    assert lookalikes("new", seen(1.0, 2.0), empty) == [None, None]


# Through the classifier


@pytest.fixture
def classifier(bundle_path: Path) -> Classifier:
    return Classifier.open(bundle_path, selftest=False)


def test_duplicates_are_told_apart(classifier: Classifier, photos: Path, tmp_path: Path) -> None:
    shutil.copy(photos / "0" / "0.png", tmp_path / "copy.png")
    with classifier:
        first = classifier.enroll("seven", [photos / "0" / "0.png"])
        again = classifier.enroll(" seven", [tmp_path / "copy.png", photos / "0" / "1.png"])
        other = classifier.enroll("eight", [tmp_path / "copy.png"])
    assert [w for w in first.warnings if w.kind == "duplicate"] == []
    found = [(w.image, w.label, w.text) for c in (again, other) for w in c.warnings if w.kind == "duplicate"]
    assert [(Path(i).name, label, text) for i, label, text in found] == [
        ("copy.png", "seven", "is enrolled already"),
        ("copy.png", "seven", "is enrolled as 'seven' too"),
    ]
    assert (again.added, again.skipped, other.added) == (1, 1, 1)


def test_a_blurred_image_is_told_and_enrolled(classifier: Classifier) -> None:
    sharp = [texture(224) for _ in range(9)]

    def blurs(classifier: Classifier, *images: np.ndarray) -> int:
        change = classifier.enroll("cloth", images)
        assert change.added == len(images)
        return [w.kind for w in change.warnings].count("blur")

    with classifier:
        assert blurs(classifier, *sharp[:4], blurred(sharp[4], 4), sharp[5]) == 1
        assert blurs(classifier, *sharp[6:8]) == 0
    with Classifier.open(classifier.bundle, classifier.gallery_path, selftest=False) as again:
        assert blurs(again, blurred(sharp[8], 4)) == 1


def test_a_picture_of_one_colour_is_told_and_no_other(classifier: Classifier) -> None:
    pictures = [np.full((40, 40, 3), 90, np.uint8), texture(224), np.zeros((30, 50), np.uint8)]
    with classifier:
        change = classifier.enroll("cloth", pictures)
    told = [(w.image, w.label, w.text) for w in change.warnings if w.kind == "blank"]
    assert [label for _, label, _ in told] == ["cloth"] * 2
    assert all("is of one colour" in text for _, _, text in told)
    assert change.added == 3


def test_a_known_class_under_a_new_name_is_told(classifier: Classifier, photos: Path) -> None:
    with classifier:
        images = sorted((photos / "1").iterdir())[:5]  # the build has seen them
        change = classifier.enroll("stick", images)
        assert [w.label for w in change.warnings if w.kind == "alike"] == ["1"] * 5
        right = classifier.enroll("1", sorted((photos / "1").iterdir())[5:])
        assert all(w.label == "stick" for w in right.warnings if w.kind == "alike")


def test_a_label_that_cannot_be_makes_no_gallery(classifier: Classifier, photos: Path) -> None:
    with classifier, pytest.raises(UsageError, match="cannot name a class"):
        classifier.enroll("  ", [photos / "0" / "0.png"])
    assert not classifier.gallery_path.exists()
