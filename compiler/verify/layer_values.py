"""What every layer of a lowered file gives for an image, as float32 in NHWC, whatever the format and scheme."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.lower.tflite_file import operation_names, read_tflite, tensor_name
from tlc_edge.compiler.lower.tflite_names import layer_name
from tlc_edge.compiler.records import Floats
from tlc_edge.runtime.quiet import quiet

# They convert, or move values about: the layer before them says as much.
_TFLITE_PLAIN = frozenset(
    {
        "QUANTIZE",
        "DEQUANTIZE",
        "CAST",
        "RESHAPE",
        "SQUEEZE",
        "EXPAND_DIMS",
        "TRANSPOSE",
        "SHAPE",
        "STRIDED_SLICE",
        "PACK",
    }
)
_ONNX_PLAIN = frozenset(
    {
        "QuantizeLinear", "DequantizeLinear", "Cast", "Identity", "Reshape", "Flatten", "Squeeze",
        "Unsqueeze", "Shape", "Constant", "Concat", "Slice", "Gather",
    }
)  # fmt: skip

_ELEMENTWISE = frozenset({"ADD", "SUB", "MUL", "DIV"})
"""Of nothing but the image and constants, they make pixels into what the network takes: each file in its own steps, and
what one rounds there shows in the first layer that reads it."""

_SPATIAL = frozenset({"Conv", "ConvTranspose", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"})


@dataclass(frozen=True)
class Layer:
    """One operation that computes something."""

    name: str
    operation: str
    inputs: tuple[int, ...]
    """The layers that it reads, by their place in the file."""
    tensor: str
    """Of what it gives: the name by which converters can be told to leave it in float32."""


class LayerValues(Protocol):
    """A lowered file, opened so that nothing between its layers is thrown away."""

    layers: tuple[Layer, ...]

    def run(self, image: NDArray[np.uint8]) -> list[Floats]:
        """Return what each of `layers` gives for one image [H, W, C], without the batch."""
        ...


def open_layers(data: bytes, form: str) -> LayerValues:
    """Open a `tflite` or `onnx` file."""
    return _Tflite(data) if form == "tflite" else _Onnx(data)


class _Tflite:
    """Through the plain kernels: a delegate would run many operations as one."""

    def __init__(self, data: bytes) -> None:
        from ai_edge_litert import interpreter as litert

        model = read_tflite(data)
        codes = operation_names()
        (graph,) = model.subgraphs
        made: dict[int, tuple[int, ...]] = {}  # tensor: the layers that it comes from
        layers: list[Layer] = []
        self._tensors: list[int] = []
        for operator in graph.operators:
            kind = codes[int(model.operatorCodes[operator.opcodeIndex].builtinCode)]
            output = int(operator.outputs[0])
            sources = tuple(dict.fromkeys(i for t in operator.inputs for i in made.get(int(t), ())))
            made[output] = sources
            normalises = kind in _ELEMENTWISE and not sources
            if kind not in _TFLITE_PLAIN and not normalises and int(graph.tensors[output].type) in (0, 7, 9):
                made[output] = (len(layers),)
                tensor = tensor_name(graph.tensors[output])
                layers.append(Layer(layer_name(tensor), kind, sources, tensor))
                self._tensors.append(output)
        self.layers = tuple(layers)
        with quiet():
            self._interpreter: Any = litert.Interpreter(
                model_content=data,
                experimental_preserve_all_tensors=True,
                experimental_op_resolver_type=litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            )
            self._interpreter.allocate_tensors()
        self._scales = {int(d["index"]): d["quantization"] for d in self._interpreter.get_tensor_details()}

    def run(self, image: NDArray[np.uint8]) -> list[Floats]:
        (source,) = self._interpreter.get_input_details()
        signed = source["dtype"] is np.int8
        self._interpreter.set_tensor(
            source["index"], (image ^ np.uint8(128)).view(np.int8)[None] if signed else image[None]
        )
        self._interpreter.invoke()
        return [self._value(tensor) for tensor in self._tensors]

    def _value(self, tensor: int) -> Floats:
        raw = self._interpreter.get_tensor(tensor)[0]
        if raw.dtype == np.float32:
            return np.asarray(raw)
        scale, zero = self._scales[tensor]
        return np.asarray((raw.astype(np.float32) - zero) * np.float32(scale), np.float32)


class _Onnx:
    """Node by node: the engine's own optimizations would run many as one."""

    def __init__(self, data: bytes) -> None:
        import onnx
        import onnxruntime

        model: Any = onnx.load_from_string(data)
        graph = model.graph
        rounded = {n.input[0]: n.output[0] for n in graph.node if n.op_type == "QuantizeLinear"}
        back = {n.input[0]: n.output[0] for n in graph.node if n.op_type == "DequantizeLinear"}
        made: dict[str, tuple[int, ...]] = {}
        layers: list[Layer] = []
        self._names: list[str] = []
        self._channels_first: list[bool] = []
        first = {graph.input[0].name: False}
        for node in graph.node:
            output = node.output[0]
            sources = tuple(dict.fromkeys(i for name in node.input for i in made.get(name, ())))
            made[output] = sources
            before = next((first[name] for name in node.input if name in first), False)
            first[output] = node.op_type in _SPATIAL or (not before if node.op_type == "Transpose" else before)
            # A transposition counts: where an activation was merged into the rounding after it, it shows that.
            of_pixels = not sources and node.op_type.upper() in {*_ELEMENTWISE, "TRANSPOSE"}
            if node.op_type not in _ONNX_PLAIN and not of_pixels:
                made[output] = (len(layers),)
                layers.append(Layer(node.name, node.op_type, sources, node.name))
                self._channels_first.append(first[output])
                self._names.append(back.get(rounded.get(output, ""), output))  # what the next layer sees
        self.layers = tuple(layers)
        known = {o.name for o in graph.output}
        graph.output.extend(onnx.ValueInfoProto(name=name) for name in dict.fromkeys(self._names) if name not in known)
        with quiet():
            options = onnxruntime.SessionOptions()
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
            options.log_severity_level = 3
            options.intra_op_num_threads = options.inter_op_num_threads = 1
            self._session: Any = onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )

    def run(self, image: NDArray[np.uint8]) -> list[Floats]:
        values = self._session.run(self._names, {"image": image[None]})
        return [
            np.asarray(v[0].transpose(1, 2, 0) if v.ndim == 4 and first else v[0], np.float32)
            for v, first in zip(values, self._channels_first, strict=True)
        ]


def sampled(values: Sequence[Floats], count: int = 2048) -> Iterator[Floats]:
    """Yield up to `count` values of each layer, evenly spaced, flat."""
    for value in values:
        flat = value.reshape(-1)
        yield flat[:: max(1, len(flat) // count)][:count]
