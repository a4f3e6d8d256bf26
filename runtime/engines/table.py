"""The engines: one row each, the one to prefer first. Nothing heavy is imported here: the command line reads the table.

An engine is added with a row, and where it runs files as none before it does, a module with its adapter.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .engine import Engine


@dataclass(frozen=True)
class EngineKind:
    """An engine that tlc knows: its PyPI name, the format it runs, the module to import."""

    name: str
    format: str
    module: str
    make: Callable[[str, str, bytes, int, Sequence[str]], Engine]
    """From name, module, the model's bytes, threads and the names of the outputs wanted."""
    old_numpy: bool = False
    """Whether it needs numpy below 2."""
    shared: bool = False
    """Whether one copy of it may run for several callers at once."""

    @property
    def installed(self) -> bool:
        """Whether it could be imported, judged without importing it."""
        try:
            return importlib.util.find_spec(self.module) is not None
        except (ImportError, ValueError):
            return False  # not there, or a part of it is broken


def _tflite(name: str, module: str, model: bytes, threads: int, outputs: Sequence[str]) -> Engine:
    from .tflite_engine import TfliteEngine

    return TfliteEngine(name, module, model, threads, outputs)


def _onnx(name: str, module: str, model: bytes, threads: int, outputs: Sequence[str]) -> Engine:
    from .onnx_engine import OnnxEngine

    return OnnxEngine(name, module, model, threads, outputs)


KINDS = [
    EngineKind("ai-edge-litert", "tflite", "ai_edge_litert.interpreter", _tflite),
    EngineKind("tflite-runtime", "tflite", "tflite_runtime.interpreter", _tflite, old_numpy=True),
    EngineKind("onnxruntime", "onnx", "onnxruntime", _onnx, shared=True),
]
"""Every engine, in order of preference."""


def engine_names() -> tuple[str, ...]:
    """Return what `--engine` can be."""
    return tuple(kind.name for kind in KINDS)
