"""Attach head and neck to a trunk's TFLite file, as fully connected operations written into it.

The trunk is lowered once, however many heads are tried on it; and the head is trained on what the lowered
trunk really gives, so its error is known before its ranges are set. Quantization follows the TFLite int8
specification: weights symmetric per output channel, activations asymmetric per tensor, biases int32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import flatbuffers
import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.records import Dense, Floats, Head, Neck, signed_root

from .tflite_ends import drop_unused, int8_input, int8_outputs
from .tflite_file import read_tflite
from .tflite_finish import PackedBuilder

# BuiltinOperator, BuiltinOptions, TensorType and ActivationFunctionType of the TFLite schema.
_DEQUANTIZE, _FULLY_CONNECTED, _SOFTMAX, _SQRT, _QUANTIZE = 6, 9, 25, 75, 114
_FULLY_CONNECTED_OPTIONS, _SOFTMAX_OPTIONS, _DEQUANTIZE_OPTIONS, _QUANTIZE_OPTIONS = 8, 9, 26, 89
_FLOAT32, _INT32, _INT8 = 0, 2, 9
_RELU = 1
# Version 4 is what per-channel int8 weights came with; tflite-runtime 2.14 has it.
_VERSIONS = {_DEQUANTIZE: 2, _FULLY_CONNECTED: 4, _SOFTMAX: 2, _SQRT: 1, _QUANTIZE: 1}
_TAIL = 10.0  # logits this far below an image's best have a probability under 1/20,000


@dataclass(frozen=True)
class _Quantization:
    scale: float
    zero_point: int


def attach_tflite(
    trunk: bytes,
    head: Head,
    neck: Neck,
    features: Floats,
    input_dtype: str = "uint8",
    output_dtype: str = "float32",
) -> bytes:
    """Return the trunk's file with the outputs `probabilities` (none for a head without classes), `embedding`.

    Whether the new operations are int8 or float32 follows what the trunk's output is made of. `features`
    [N, F] are training features as this very trunk gives them; they set the int8 ranges.

    Raises:
        BuildError: int8 is asked for at an end where the trunk has float32.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = read_tflite(trunk)
    graph = _Graph(schema, model)
    source = graph.features()
    outputs: list[int] = []
    if head.layers:
        outputs.append(graph.stack(source, head.layers, features, "head", "probabilities"))
    if neck.kernel is not None and neck.bias is not None:
        layer, given = Dense(neck.kernel, neck.bias, "linear"), features
        if neck.root:
            source, given = graph.root(source, "neck_root"), signed_root(features)
        outputs.append(graph.stack(source, (layer,), given, "neck", "embedding"))
    else:
        outputs.append(graph.to_float(source, "embedding"))
    model.subgraphs[0].outputs = outputs
    model.signatureDefs = []
    if input_dtype == "int8":
        int8_input(model)
    if output_dtype == "int8":
        int8_outputs(model)
    if "int8" in (input_dtype, output_dtype):
        drop_unused(model)
    builder: flatbuffers.Builder = PackedBuilder()
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


class _Graph:
    """A TFLite model, as the schema's object form, to which operations are added at the end."""

    def __init__(self, schema: Any, model: Any) -> None:
        self._schema = schema
        self._model = model
        self._graph = model.subgraphs[0]

    def features(self) -> int:
        """Return the tensor that the head reads; the last step to float32 is taken off an int8 trunk."""
        (output,) = self._graph.outputs
        last = self._graph.operators[-1]
        inner = int(last.inputs[0])
        if self._code(last) == _DEQUANTIZE and int(last.outputs[0]) == int(output) and self._int8(inner):
            self._graph.operators.pop()
            if int(output) == len(self._graph.tensors) - 1:
                self._graph.tensors.pop()  # of no use any more; elsewhere it would shift the others
            return inner
        return int(output)

    def stack(self, source: int, layers: Sequence[Dense], features: Floats, name: str, output: str) -> int:
        """Add dense layers after the tensor `source`; return the float32 tensor they end in."""
        values = features
        for i, layer in enumerate(layers):
            values = layer.linear(values)
            source = self._dense(source, layer, values, f"{name}_{i}")
            if layer.activation == "relu":
                values = np.maximum(values, 0)
            if layer.activation == "softmax":
                source = self._softmax(source, f"{name}_{i}_softmax" if self._int8(source) else output)
        return self.to_float(source, output)

    def root(self, source: int, name: str) -> int:
        """Return a tensor called `name` with the square roots of `source`, of the same type.

        They are taken in float32: no engine but the newest has SQRT in int8.
        """
        if not self._int8(source):
            return self._square_root(source, name)
        given = self._graph.tensors[source].quantization
        highest = float(given.scale[0]) * (127 - int(given.zeroPoint[0]))
        rooted = self._square_root(self.to_float(source, f"{name}_of"), f"{name}_float")
        shape = tuple(self._graph.tensors[source].shape)
        made = self._tensor(name, shape, _INT8, _Quantization(max(highest, 1e-12) ** 0.5 / 255, -128))
        self._operator(_QUANTIZE, [rooted], [made], _QUANTIZE_OPTIONS, self._schema.QuantizeOptionsT())
        return made

    def _square_root(self, source: int, name: str) -> int:
        made = self._tensor(name, tuple(self._graph.tensors[source].shape), _FLOAT32)
        self._operator(_SQRT, [source], [made], 0, None)
        return made

    def to_float(self, source: int, name: str) -> int:
        """Return a float32 tensor called `name` with the values of `source`."""
        if not self._int8(source):
            self._graph.tensors[source].name = name
            return source
        width = int(self._graph.tensors[source].shape[-1])
        result = self._tensor(name, (1, width), _FLOAT32)
        self._operator(_DEQUANTIZE, [source], [result], _DEQUANTIZE_OPTIONS, self._schema.DequantizeOptionsT())
        return result

    def _dense(self, source: int, layer: Dense, values: Floats, name: str) -> int:
        width = layer.kernel.shape[1]
        kernel = np.ascontiguousarray(layer.kernel.T, np.float32)  # [O, I]
        options = self._schema.FullyConnectedOptionsT()
        options.fusedActivationFunction = _RELU if layer.activation == "relu" else 0
        if self._int8(source):
            given = self._graph.tensors[source].quantization
            scales = np.maximum(np.abs(kernel).max(axis=1), 1e-12).astype(np.float64) / 127.0
            rows = np.rint(kernel / scales[:, None]).astype(np.int8)
            bias_scales = scales * float(given.scale[0])
            limits = np.iinfo(np.int32)
            bias = np.clip(np.rint(layer.bias / bias_scales), limits.min, limits.max).astype(np.int32)
            weights = self._constant(f"{name}_kernel", rows, _INT8, scales)
            biases = self._constant(f"{name}_bias", bias, _INT32, bias_scales)
            made = self._tensor(name, (1, width), _INT8, _range(values, layer.activation, float(bias_scales.max())))
        else:
            weights = self._constant(f"{name}_kernel", kernel, _FLOAT32)
            biases = self._constant(f"{name}_bias", layer.bias.astype(np.float32), _FLOAT32)
            made = self._tensor(name, (1, width), _FLOAT32)
        self._operator(_FULLY_CONNECTED, [source, weights, biases], [made], _FULLY_CONNECTED_OPTIONS, options)
        return made

    def _softmax(self, source: int, name: str) -> int:
        options = self._schema.SoftmaxOptionsT()
        options.beta = 1.0
        width = int(self._graph.tensors[source].shape[-1])
        if self._int8(source):
            # The specification fixes this scale and zero point for an int8 softmax.
            made = self._tensor(name, (1, width), _INT8, _Quantization(1 / 256, -128))
        else:
            made = self._tensor(name, (1, width), _FLOAT32)
        self._operator(_SOFTMAX, [source], [made], _SOFTMAX_OPTIONS, options)
        return made

    def _int8(self, tensor: int) -> bool:
        return int(self._graph.tensors[tensor].type) == _INT8

    def _code(self, operator: Any) -> int:
        return int(self._model.operatorCodes[operator.opcodeIndex].builtinCode)

    def _operator(self, code: int, inputs: list[int], outputs: list[int], kind: int, options: Any) -> None:
        operator = self._schema.OperatorT()
        operator.opcodeIndex = self._opcode(code)
        operator.inputs, operator.outputs = inputs, outputs
        operator.builtinOptionsType, operator.builtinOptions = kind, options
        self._graph.operators.append(operator)

    def _opcode(self, code: int) -> int:
        for i, known in enumerate(self._model.operatorCodes):
            if int(known.builtinCode) == code and int(known.version) >= _VERSIONS[code]:
                return i
        made = self._schema.OperatorCodeT()
        made.builtinCode = made.deprecatedBuiltinCode = code
        made.version = _VERSIONS[code]
        self._model.operatorCodes.append(made)
        return len(self._model.operatorCodes) - 1

    def _constant(self, name: str, values: NDArray[Any], kind: int, scales: NDArray[np.float64] | None = None) -> int:
        buffer = self._schema.BufferT()
        buffer.data = np.frombuffer(values.tobytes(), np.uint8)
        self._model.buffers.append(buffer)
        index = self._tensor(name, values.shape, kind)
        tensor = self._graph.tensors[index]
        tensor.buffer = len(self._model.buffers) - 1
        if scales is not None:
            tensor.quantization = self._schema.QuantizationParametersT()
            tensor.quantization.scale = scales.astype(np.float32)
            tensor.quantization.zeroPoint = np.zeros(len(scales), np.int64)
            tensor.quantization.quantizedDimension = 0
        return index

    def _tensor(self, name: str, shape: Sequence[int], kind: int, quantization: _Quantization | None = None) -> int:
        tensor = self._schema.TensorT()
        tensor.name, tensor.type, tensor.buffer = name, kind, 0
        tensor.shape = np.array(shape, np.int32)
        if quantization is not None:
            tensor.quantization = self._schema.QuantizationParametersT()
            tensor.quantization.scale = np.array([quantization.scale], np.float32)
            tensor.quantization.zeroPoint = np.array([quantization.zero_point], np.int64)
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1


def _range(values: Floats, activation: str, step: float) -> _Quantization:
    """Return scale and zero point for a layer's outputs `values` [N, O], before its activation; `step` is the largest
    scale of its sums."""
    low, high = float(values.min()), float(values.max())
    if activation == "softmax":
        # What lies far below the best class of its image may be cut off: it is as good as zero either way,
        # and the rest gets the finer steps.
        low = max(low, float(values.max(axis=1).min()) - _TAIL)
    elif activation == "relu":
        low, high = 0.0, max(high, 0.0)
    low, high = min(low, 0.0), max(high, 0.0)  # the specification wants zero to be exact
    # XNNPACK refuses to scale a sum up by 256 or more, and steps that fine would hold nothing but noise.
    scale = max((high - low) / 255.0, step / 128.0)
    return _Quantization(scale, int(np.clip(round(-128 - low / scale), -128, 127)))
