"""Lower to int8 but for the layers that bear it worst, which stay in float32."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.network.freeze import Frozen
from tlc_edge.runtime.errors import BuildError
from tlc_edge.runtime.quiet import quiet

from .tflite_file import operation_names, read_tflite, tensor_name
from .tflite_names import layer_name
from .tflite_ranges import quick_ranges

_PIXELS = ("CAST", "SUB", "MUL", "ADD", "DIV", "QUANTIZE")


def convert_mixed(
    frozen: Frozen, images: Callable[[], Iterator[list[NDArray[np.uint8]]]], exclude: Sequence[str]
) -> bytes:
    """Return TensorFlow's int8 file of a graph that takes pixels, with the layers `exclude` in float32.

    What normalises the pixels stays in float32 as well: rounded once more, they would lose.

    Raises:
        BuildError: none of the layers is in the graph.
    """
    with quiet():
        import tensorflow as tf

        converter: Any = tf.lite.TFLiteConverter.from_concrete_functions([frozen.function])
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = images
        with quick_ranges():
            debugger: Any = tf.lite.experimental.QuantizationDebugger(converter=converter, debug_dataset=images)
        excluded = _tensors(bytes(debugger.calibrated_model), exclude)
        if not excluded[1]:
            raise BuildError(
                f"none of the layers {', '.join(exclude)} is in the graph; this is a defect, please report it"
            )
        options = tf.lite.experimental.QuantizationDebugOptions(denylisted_nodes=[*excluded[0], *excluded[1]])
        debugger.options = options
        with quick_ranges():
            return bytes(debugger.get_nondebug_quantized_model())


def _tensors(calibrated: bytes, exclude: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the tensors of what normalises the pixels, and those of the layers `exclude`."""
    model = read_tflite(calibrated)
    codes = operation_names()
    graph = model.subgraphs[0]
    pixels: list[str] = []
    layers: list[str] = []
    leading = True
    for operator in graph.operators:
        tensor = tensor_name(graph.tensors[int(operator.outputs[0])])
        leading = leading and codes[int(model.operatorCodes[operator.opcodeIndex].builtinCode)] in _PIXELS
        if leading:
            pixels.append(tensor)
        elif layer_name(tensor) in exclude:
            layers.append(tensor)
    return pixels, layers
