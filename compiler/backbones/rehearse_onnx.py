"""Run with -m by `rehearse`: read an ONNX file, settle it on its image, and cut it at its default."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from tlc_edge.compiler.options import Asked
from tlc_edge.compiler.weights.rehearse import answer

from .onnx_file import read_network
from .shave import shave


def load(request: Mapping[str, Any]) -> None:
    """Load what is asked for as a build would, and compute with it what a build does at once."""
    size = request["input_size"]
    asked = Asked(input_size=None if size is None else (size[0], size[1]), pixels=request["pixels"])
    shave(read_network(request["where"], asked))


def libraries() -> None:
    """Import what will be used."""
    importlib.import_module("onnx")
    importlib.import_module("onnxruntime")


if __name__ == "__main__":
    answer(load, libraries)
