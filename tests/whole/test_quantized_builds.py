"""Builds in the smaller schemes, as a device uses them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tlc_edge.compiler import Options, build
from tlc_edge.compiler.lower.file_kinds import FileKind
from tlc_edge.compiler.lower.onnx_content import read_onnx_content
from tlc_edge.compiler.order import check
from tlc_edge.runtime import Bundle, Classifier
from tlc_edge.runtime.errors import UsageError

SKETCH = Path(__file__).parents[1] / "data" / "tfjs_sketch"


def test_an_int8_onnx_file_beside_the_tflite_one(photos: Path, tmp_path: Path) -> None:
    path = tmp_path / "both.tlc"
    asked = Options(str(photos), ("rpi",), path, str(SKETCH), pool="flatten", max_drop=30, onnx_scheme="int8")
    scores = build(asked).bundles[0].scores
    assert [(s.file, s.scheme) for s in scores] == [("model.tflite", "int8"), ("model.onnx", "int8")]
    assert all((s.embedding_cosine or 0) > 0.98 for s in scores)
    content = read_onnx_content(Bundle.open(path).read("model.onnx"))
    assert content.activations["uint8"] > content.activations["float32"]
    assert content.weights.keys() == {"int8"}
    with Classifier.open(path, engine="onnxruntime") as classifier:  # runs the golden samples first
        assert classifier.predict(photos / "0" / "0.png").label in "0123"


def test_a_format_that_is_left_out_is_not_made(photos: Path, tmp_path: Path) -> None:
    path = tmp_path / "one.tlc"
    asked = Options(str(photos), ("rpi",), path, str(SKETCH), pool="flatten", max_drop=30, formats=("tflite",))
    assert [score.file for score in build(asked).bundles[0].scores] == ["model.tflite"]
    with Classifier.open(path) as classifier:
        assert classifier.predict(photos / "0" / "0.png").label in "0123"
    with pytest.raises(UsageError, match=r"which holds tflite;"):
        Classifier.open(path, engine="onnxruntime")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"formats": ("tflite",), "onnx_scheme": "int8"}, "--onnx-scheme int8: --formats tflite leaves that file out"),
        ({"formats": ("onnx",), "scheme": "int8"}, "--scheme int8: --formats onnx leaves that file out"),
        (
            {"formats": ("onnx",), "targets": ("web",), "site": Path("site")},
            "--formats onnx: a site runs a TFLite file",
        ),
    ],
)
def test_what_is_asked_of_a_file_that_is_left_out(asked: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=said):
        check(replace(Options("photos", ("rpi",), tmp_path / "x.tlc"), **asked))


def test_of_an_onnx_network_the_scheme_is_that_of_its_one_file(tmp_path: Path) -> None:
    network = tmp_path / "network.onnx"
    network.write_bytes(b"not opened")
    asked = Options("photos", ("rpi",), tmp_path / "x.tlc", str(network), formats=("onnx",), scheme="int8")
    assert check(asked).kinds["rpi"] == (FileKind("onnx", "int8"),)
    with pytest.raises(UsageError, match=r"^--formats tflite: .* is an ONNX file, of which tlc makes ONNX files alone"):
        check(replace(asked, formats=("tflite",), scheme=None))
