"""What is told where a source does not take an option, or nothing takes a file."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from tlc_edge.compiler.options import Asked
from tlc_edge.runtime.errors import UsageError

# By option, in the order in which they are looked at.
_OPTIONS = {
    "alpha": "--alpha is for keras:NAME; {name} comes in one width",
    "pixels": "--pixels is for files; what {name} was trained on is known",
    "weights": "--weights is for keras:NAME and FILE.py:FUNCTION; {name} brings its own",
    "restore": "--restore is for FILE.py:FUNCTION with a checkpoint; {name} has all of its weights",
}
# By the ends of a file's name.
_FILES = {
    (".pth", ".pt", ".ckpt", ".bin", ".safetensors"): (
        "weights without a network; export it from PyTorch as an ONNX file first: torch.onnx.export"
    ),
    (".pb", ".pbtxt"): "a graph alone; name the folder of a SavedModel, with saved_model.pb and variables/ in it",
    (".mlmodel", ".caffemodel", ".prototxt", ".params", ".engine"): (
        "a network of another framework; export it as an ONNX file where it was made"
    ),
    (".py",): "name the function that makes the network, {path}:make_model",
    (".ort",): "a model in onnxruntime's own form, which cannot be cut; name the .onnx that it was made from",
    (".tflite",): "a lowered model, which cannot be cut; name the network that it was made from",
}
_OTHER_FILES = "expected .keras, .h5, .onnx, model.json, a SavedModel folder or FILE.py:FUNCTION"
_UNPACKED = "a .keras file that was unpacked, as some browsers do; pack its files again as a ZIP called .keras"
_FOLDERS = "a folder without saved_model.pb (SavedModel) or model.json (tfjs)"


def refuse(name: str, asked: Asked, takes: Collection[str]) -> None:
    """Refuse the options that a source does not take; `takes` are fields of `Asked`. Every source takes an input size.

    Raises:
        UsageError: such an option is given.
    """
    for option, sentence in _OPTIONS.items():
        if option not in takes and getattr(asked, option) not in (None, ()):
            raise UsageError(sentence.format(name=name))


def not_taken(path: Path) -> str:
    """Return why no source takes what lies at a path, and what to give in its place."""
    if path.is_dir():
        unpacked = (path / "config.json").is_file() and (path / "model.weights.h5").is_file()
        return _UNPACKED if unpacked else _FOLDERS
    found = next((sentence for ends, sentence in _FILES.items() if path.suffix.lower() in ends), _OTHER_FILES)
    return found.format(path=path)
