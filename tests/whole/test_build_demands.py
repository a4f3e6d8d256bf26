"""Whole builds that must reach something, and builds from what was taught on a device."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from command_runs import Done, here
from test_one_place import SKETCH

from tlc_edge.runtime import Bundle, Classifier

Build = Callable[..., Done]


@pytest.fixture
def build(photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Build:
    """Run `tlc build` with a small network."""
    words = ("build", "--target", "desktop", "--scheme", "float32", "--backbone", SKETCH, "--pixels", "-1..1")
    small = ("--pool", "flatten", "--head", "prototype", "--max-drop", "90", "-o", tmp_path / "b.tlc", "--force")
    return lambda *more: here(capfd, *words, *small, "--cache", tmp_path / "cache", *more)


def test_a_build_that_does_not_reach_what_is_demanded_writes_nothing(
    build: Build, photos: Path, tmp_path: Path
) -> None:
    reached = build("--data", photos, "--json")
    assert reached.code == 0, reached.err
    accuracy = reached.json()["accuracy"]["model.tflite"]
    right = min(accuracy for name, accuracy in reached.json()["accuracy"].items() if name != "float")
    assert 0.2 < right <= accuracy <= 1
    kept = (tmp_path / "b.tlc").read_bytes()

    # What it reaches is enough as it was counted, and not as it is sure.
    assert build("--data", photos, "--min-accuracy", f"{right:.6f}"[:6]).code == 0
    kept = (tmp_path / "b.tlc").read_bytes()
    for words in (["--min-accuracy", f"{right:.6f}"[:6], "--sure"], ["--min-class-recall", "1", "--sure"]):
        missed = build("--data", photos, *words, "--json")
        error = missed.json()["error"]
        assert (missed.code, error["kind"], error["exit_code"]) == (1, "BuildError", 1)
        assert "is sure, expected at least" in error["what"]
        assert (tmp_path / "b.tlc").read_bytes() == kept  # not even the one that --force may replace
    (tmp_path / "b.tlc").unlink()
    assert "expected at least" in build("--data", photos, "--min-class-recall", "1", "--sure").failed()
    assert not (tmp_path / "b.tlc").exists()


def test_what_was_taught_on_a_device_comes_into_the_next_build(
    build: Build, built_bundle: Path, photos: Path, tmp_path: Path
) -> None:
    device = shutil.copy(built_bundle, tmp_path / "device.tlc")
    with Classifier.open(device) as classifier:
        for taught, label in (("slash", "2"), ("hook", "3")):
            classifier.enroll(taught, sorted((photos / label).glob("*.png")))
    for label in "01":
        shutil.copytree(photos / label, tmp_path / "photos" / label)
    gallery = f"{device}.gallery"

    done = build("--data", tmp_path / "photos", "--data", gallery, "--json")
    assert done.code == 0, done.err
    document = done.json()
    assert document["labels"] == ["0", "1", "hook", "slash"]
    assert sum(document["images"].values()) == 40
    assert "what was taught on a device, 20 thumbnails; 40 images of 4 classes" in document["recognised"]
    assert Bundle.open(tmp_path / "b.tlc").manifest.labels == ("0", "1", "hook", "slash")

    alone = build("--data", gallery, "--json")
    assert alone.code == 0, alone.err
    assert alone.json()["labels"] == ["hook", "slash"]
