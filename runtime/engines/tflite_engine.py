"""`.tflite` files, through ai-edge-litert or its predecessor tflite-runtime."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from tlc_edge.runtime.quiet import quiet

from .engine import find_output, image_shape, vector_width
from .versions import version_of


class TfliteEngine:
    """A `.tflite` file through ai-edge-litert or tflite-runtime, whose interpreters are alike."""

    def __init__(self, name: str, module: str, model: bytes, threads: int, outputs: Sequence[str]) -> None:
        self.name, self.version = name, version_of(name)
        with quiet():
            interpreter: Any = importlib.import_module(module).Interpreter(model_content=model, num_threads=threads)
            interpreter.allocate_tensors()
        (source,) = interpreter.get_input_details()
        found = {str(d["name"]): d for d in interpreter.get_output_details()}
        if source["dtype"] not in (np.uint8, np.int8):
            raise ValueError(f"its input is {np.dtype(source['dtype']).name}, expected uint8")
        self._interpreter = interpreter
        self._input = int(source["index"])
        self._signed = source["dtype"] is np.int8
        self.shape = image_shape(source["shape"])
        details = [find_output(found, name) for name in outputs]
        self.widths = tuple(vector_width(str(d["name"]), d["shape"]) for d in details)
        self._outputs = [int(d["index"]) for d in details]
        self._scales: list[tuple[float, int] | None] = [
            None if d["dtype"] is np.float32 else cast("tuple[float, int]", d["quantization"]) for d in details
        ]

    def run(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.float32], ...]:
        """Run one image [H, W, C] and return one vector per output."""
        # An int8 input has the same scale and a zero point 128 lower: the same bits with the top one flipped.
        data = (image ^ np.uint8(128)).view(np.int8) if self._signed else image
        self._interpreter.set_tensor(self._input, data[None])
        self._interpreter.invoke()
        return tuple(self._vector(i, s) for i, s in zip(self._outputs, self._scales, strict=True))

    def _vector(self, index: int, scale: tuple[float, int] | None) -> NDArray[np.float32]:
        raw = self._interpreter.get_tensor(index)[0]
        if scale is None:
            return cast("NDArray[np.float32]", raw)
        return np.asarray((raw.astype(np.float32) - scale[1]) * scale[0], np.float32)
