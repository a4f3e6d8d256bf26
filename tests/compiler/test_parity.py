"""Parity: every two files on the same images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tlc_edge.compiler import Options, build
from tlc_edge.compiler.options import Asked
from tlc_edge.compiler.records import Outputs
from tlc_edge.compiler.verify.parity import compare

TFJS = Path(__file__).parents[3] / "shared" / "data" / "mobilenet_v1_025_224_tfjs"


def outputs(probabilities: list[list[float]], embeddings: list[list[float]]) -> Outputs:
    return Outputs(np.array(probabilities, np.float32).reshape(len(embeddings), -1), np.array(embeddings, np.float32))


def test_every_two_are_compared() -> None:
    a = outputs([[0.9, 0.1], [0.6, 0.4]], [[1, 0], [0, 2]])
    b = outputs([[0.8, 0.2], [0.4, 0.6]], [[3, 0], [4, 3]])
    found = compare({"a": a, "b": b, "c": a})
    assert (found.images, [(p.one, p.other) for p in found.pairs]) == (2, [("a", "b"), ("a", "c"), ("b", "c")])
    first, same, _ = found.pairs
    assert (first.lowest_cosine, first.mean_cosine) == pytest.approx((0.6, 0.8))
    assert (first.largest_difference, first.agreement) == pytest.approx((0.2, 0.5))
    assert (same.lowest_cosine, same.largest_difference, same.agreement) == pytest.approx((1, 0, 1))
    assert found.worst in (first, found.pairs[2])


def test_without_a_head_there_are_embeddings_alone() -> None:
    (pair,) = compare({"a": outputs([], [[1, 0]]), "b": outputs([], [[0, 1]])}).pairs
    assert (pair.lowest_cosine, pair.largest_difference, pair.agreement) == (0, None, None)


def test_what_is_no_number_is_as_far_off_as_can_be() -> None:
    a, b = outputs([[0.9, 0.1]], [[1, 0]]), outputs([[np.nan, 0.1]], [[np.nan, 0]])
    (pair,) = compare({"a": a, "b": b}).pairs
    assert (pair.lowest_cosine, pair.largest_difference) == (0, 1)


def test_one_file_has_nothing_beside_it() -> None:
    assert compare({"a": outputs([], [[1, 0]])}).pairs == ()
    assert compare({}).worst is None


@pytest.mark.skipif(not TFJS.is_dir(), reason="the TensorFlow.js MobileNet is not here")
def test_the_files_of_several_targets_once_each(photos: Path, tmp_path: Path) -> None:
    result = build(
        Options(
            data=str(photos),
            targets=("rpi", "web", "coral"),
            output=tmp_path / "x.tlc",
            backbone=str(TFJS / "model.json"),
            asked=Asked(input_size=(96, 96)),
            max_drop=60,
            calibration=8,
        )
    )
    names = ["float graph", "model.tflite int8", "model.onnx float32", "model.tflite int8, int8 out"]
    pairs = {(p.one, p.other): p for p in result.parity.pairs}
    assert list(pairs) == [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    assert result.parity.images == 6
    assert pairs["float graph", "model.onnx float32"].lowest_cosine > 0.9999
    # What a file takes and gives changes nothing inside it.
    assert pairs["model.tflite int8", "model.tflite int8, int8 out"].lowest_cosine > 0.999
    assert pairs["float graph", "model.tflite int8"].lowest_cosine < 0.9999
