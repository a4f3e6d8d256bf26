"""What a file must reach: judged by what was counted, or by what is sure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from command_runs import here

from tlc_edge.compiler.verify.demands import ClassRecall, Demands, recalls
from tlc_edge.compiler.verify.statistics import wilson
from tlc_edge.runtime.errors import UsageError


@pytest.mark.parametrize(
    ("demands", "right", "count"),
    [
        (Demands(), 0, 0),
        (Demands(min_accuracy=0.9), 9, 0),
        (Demands(min_accuracy=0.9), 8, 1),
        (Demands(min_accuracy=0.9, sure=True), 9, 1),
        (Demands(min_accuracy=wilson(9, 10)[0], sure=True), 9, 0),
        (Demands(min_class_recall=0.5), 9, 1),
        (Demands(min_class_recall=0.25), 9, 0),
        (Demands(min_class_recall=0.25, sure=True), 9, 1),
        (Demands(min_accuracy=1, min_class_recall=1), 9, 2),
    ],
)
def test_what_is_missed(demands: Demands, right: int, count: int) -> None:
    classes = [
        ClassRecall("cat", 6, 6, wilson(6, 6)),
        ClassRecall("dog", 1, 4, wilson(1, 4)),
        ClassRecall("cow", 0, 0, (0, 1)),
    ]
    missed = demands.misses("model.tflite", right, 10, classes)
    assert len(missed) == count
    assert not any("cow" in said for said in missed)


def test_the_sentence_has_the_count_and_the_interval() -> None:
    (said,) = Demands(min_accuracy=0.9).misses("model.tflite", 15, 20, ())
    assert said == "model.tflite: accuracy is 0.750 (15 of 20; 0.531 to 0.888), expected at least 0.9"
    (said,) = Demands(min_accuracy=0.6, sure=True).misses("model.tflite", 15, 20, ())
    assert said.endswith("0.888), of which 0.531 is sure, expected at least 0.6")


def test_recalls() -> None:
    found = recalls(np.array([0, 0, 1, 2]), np.array([0, 1, 1, -1]), ("a", "b", "c"))
    assert [(one.label, one.right, one.images) for one in found] == [("a", 1, 1), ("b", 1, 2), ("c", 0, 0)]


@pytest.mark.parametrize(
    "demands", [Demands(1.5), Demands(-0.1), Demands(float("nan")), Demands(None, 2), Demands(sure=True)]
)
def test_numbers_that_are_none(demands: Demands) -> None:
    with pytest.raises(UsageError):
        demands.check()


def test_verify_prints_what_it_measured_and_fails(
    built_bundle: Path, photos: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ("verify", built_bundle, "--data", photos)
    plain = here(capfd, *words)
    assert (plain.code, "95 % interval" in plain.out) == (0, True)
    asked = here(capfd, *words, "--min-accuracy", "1", "--min-class-recall", "1", "--sure", "--json")
    document = asked.json()
    assert (asked.code, document["images"]) == (1, 40)
    assert len(document["missed"]) == 2 * 5  # each file's accuracy and four classes
    assert "expected at least 1" in asked.err
    assert here(capfd, *words, "--min-accuracy", "0.2", "--min-class-recall", "0.01", "--sure").code == 0
    assert here(capfd, *words, "--sure").code == 2
    assert here(capfd, *words, "--min-accuracy", "1.2").code == 2
