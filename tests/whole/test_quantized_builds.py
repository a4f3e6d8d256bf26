"""Builds in the smaller schemes, as a device uses them."""

from __future__ import annotations

from pathlib import Path

from tlc_edge.compiler import Options, build
from tlc_edge.compiler.lower.onnx_content import read_onnx_content
from tlc_edge.runtime import Bundle, Classifier

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
