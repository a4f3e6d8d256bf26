"""Run with -m by `rehearse`: read a SavedModel, import its graph and freeze it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tlc_edge.compiler.options import Asked
from tlc_edge.compiler.weights.rehearse import answer

from .saved_model import read_network


def load(request: Mapping[str, Any]) -> None:
    """Load what is asked for as a build would."""
    size = request["input_size"]
    read_network(
        request["where"], Asked(input_size=None if size is None else (size[0], size[1]), pixels=request["pixels"])
    )


if __name__ == "__main__":
    answer(load)
