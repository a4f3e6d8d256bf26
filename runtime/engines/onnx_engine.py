"""`.onnx` files, through onnxruntime."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlc_edge.runtime.quiet import quiet

from .engine import find_output, image_shape, vector_width
from .onnx_content import refers_outside
from .versions import version_of


class OnnxEngine:
    """An `.onnx` file through onnxruntime on the CPU."""

    def __init__(self, name: str, module: str, model: bytes, threads: int, outputs: Sequence[str]) -> None:
        self.name, self.version = name, version_of(name)
        if refers_outside(model):
            raise ValueError("it keeps numbers in files outside the bundle")
        with quiet():
            ort: Any = importlib.import_module(module)
            options = ort.SessionOptions()
            options.intra_op_num_threads = threads
            options.inter_op_num_threads = 1
            options.log_severity_level = 3
            self._session: Any = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        (source,) = self._session.get_inputs()
        if source.type != "tensor(uint8)":
            raise ValueError(f"its input is {source.type}, expected tensor(uint8)")
        self._input = str(source.name)
        self.shape = image_shape(source.shape)
        found = {str(o.name): o for o in self._session.get_outputs()}
        self.widths = tuple(vector_width(name, find_output(found, name).shape) for name in outputs)
        self._outputs = list(outputs)

    def run(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.float32], ...]:
        """Run one image [H, W, C] and return one vector per output."""
        return tuple(o[0] for o in self._session.run(self._outputs, {self._input: image[None]}))
