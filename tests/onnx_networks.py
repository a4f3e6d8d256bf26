"""Small ONNX networks, written node by node: what exporters make, in all its forms."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

SIZE = 16
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass
class Small:
    """Two convolutions, a pooling, a classifier."""

    channels_last: bool = False
    channels: int = 3
    softmax: bool = False
    classifier: str = "gemm"
    """`gemm`, `matmul`, `point` (a convolution of one place), `places` (a convolution that is averaged), or `none`."""
    pool: str = "GlobalAveragePool"
    """Or `ReduceMean`, `kept` (that with its axes), `AveragePool`, `Flatten`."""
    norm: bool = True
    """A batch norm after the first convolution."""
    padded: bool = True
    half: bool = False
    batch: str | int = "batch"
    size: int | str = SIZE
    begin: str = ""
    """Arithmetic in the graph: `torch` (divided by 255, mean and deviation), `caffe` (blue first, a mean), `half`
    (divided by 127.5, less 1), `uint8` (takes pixels)."""
    as_inputs: bool = False
    """Constants are inputs too, as in files of 2018."""
    names: str = "{}"
    opset: int = 17
    seed: int = 0
    nodes: list[Any] = field(default_factory=list[Any])
    constants: list[Any] = field(default_factory=list[Any])

    def _node(self, kind: str, inputs: list[str], output: str, **given: Any) -> str:
        named = self.names.format(output)
        node = helper.make_node(kind, inputs, [named], name=self.names.format(f"{kind}:{output}"), **given)
        self.nodes.append(node)
        return named

    def _constant(self, name: str, values: Any) -> str:
        array = np.asarray(values)
        if self.half and array.dtype == np.float32:
            array = array.astype(np.float16)
        self.constants.append(numpy_helper.from_array(array, self.names.format(name)))
        return self.names.format(name)

    def _weights(self, name: str, *shape: int) -> str:
        fan = max(int(np.prod(shape[1:])), 1)
        return self._constant(name, self._random.normal(0, 1.4 / np.sqrt(fan), shape).astype(np.float32))

    def _start(self, x: str) -> str:
        last = self.channels_last
        across = (1, 1, 1, -1) if last else (1, -1, 1, 1)

        def each(*values: float) -> NDArray[np.float32]:
            return np.asarray(values, np.float32).reshape(across)

        if self.begin == "torch":
            x = self._node("Div", [x, self._constant("top", np.float32(255))], "unit")
            x = self._node("Sub", [x, self._constant("mean", each(*MEAN))], "centred")
            return self._node("Div", [x, self._constant("std", each(*STD))], "normal")
        if self.begin == "half":
            x = self._node("Mul", [x, self._constant("scale", np.float32(1 / 127.5))], "scaled")
            return self._node("Add", [x, self._constant("less", np.float32(-1))], "normal")
        if self.begin == "caffe":
            turned = self._constant("turned", np.array([2, 1, 0], np.int64))
            x = self._node("Gather", [x, turned], "blue", axis=3 if last else 1)
            return self._node("Sub", [x, self._constant("mean", each(104, 117, 123))], "normal")
        if self.begin == "uint8":
            x = self._node("Cast", [x], "floats", to=TensorProto.FLOAT)
            return self._node("Div", [x, self._constant("top", np.float32(255))], "normal")
        return x

    def _pooled(self, x: str, side: int) -> tuple[str, int]:
        if self.pool == "ReduceMean":
            return self._node("ReduceMean", [x], "pooled", axes=[2, 3], keepdims=0), 8
        if self.pool == "Flatten":
            return self._node("Flatten", [x], "flat", axis=1), 8 * side * side
        if self.pool == "AveragePool":
            x = self._node("AveragePool", [x], "pooled", kernel_shape=[side, side])
        else:
            given = {"axes": [2, 3], "keepdims": 1} if self.pool == "kept" else {}
            x = self._node("ReduceMean" if given else self.pool, [x], "pooled", **given)
        return (x, 8) if self.classifier == "point" else (self._node("Flatten", [x], "flat", axis=1), 8)

    def model(self) -> Any:
        """Return it."""
        self.nodes, self.constants, self._random = [], [], np.random.default_rng(self.seed)
        image = x = self.names.format("input.1")
        x = self._start(x)
        if self.channels_last:
            x = self._node("Transpose", [x], "first", perm=[0, 3, 1, 2])
        pads = [1, 1, 1, 1] if self.padded else [0, 0, 0, 0]
        kernel, bias = self._weights("conv1.weight", 6, self.channels, 3, 3), self._weights("conv1.bias", 6)
        x = self._node("Conv", [x, kernel, bias], "conv1", strides=[2, 2], pads=pads, kernel_shape=[3, 3])
        if self.norm:
            stats = [
                self._constant(f"bn.{name}", self._random.uniform(0.5, 1.5, 6).astype(np.float32))
                for name in ("weight", "bias", "running_mean", "running_var")
            ]
            x = self._node("BatchNormalization", [x, *stats], "bn1")
        x = self._node("Relu", [x], "relu1")
        x = self._node("Conv", [x, self._weights("conv2.weight", 8, 6, 3, 3)], "conv2", pads=[1, 1, 1, 1])
        x = self._node("Relu", [x], "relu2")
        side = (SIZE - (1 if self.padded else 2)) // 2 + (1 if self.padded else 0)
        if self.classifier == "places":
            x = self._node("Conv", [x, self._weights("fc.weight", 5, 8, 1, 1)], "scores")
            x = self._node("GlobalAveragePool", [x], "pooled")
            x, width = self._node("Flatten", [x], "flat", axis=1), 8
        else:
            x, width = self._pooled(x, side)
        if self.classifier == "gemm":
            x = self._node(
                "Gemm", [x, self._weights("fc.weight", 5, width), self._weights("fc.bias", 5)], "fc", transB=1
            )
        elif self.classifier == "matmul":
            x = self._node("MatMul", [x, self._weights("fc.weight", width, 5)], "product")
            x = self._node("Add", [x, self._weights("fc.bias", 5)], "fc")
        elif self.classifier == "point":
            x = self._node("Conv", [x, self._weights("fc.weight", 5, width, 1, 1)], "scores")
            x = self._node("Flatten", [x], "fc", axis=1)
        if self.softmax:
            x = self._node("Softmax", [x], "probabilities", axis=-1)
        return self._model(image, x)

    def _model(self, image: str, end: str) -> Any:
        kind = TensorProto.FLOAT16 if self.half else TensorProto.FLOAT
        places = [self.size, self.size]
        shape = [self.batch, *places, self.channels] if self.channels_last else [self.batch, self.channels, *places]
        given = TensorProto.UINT8 if self.begin == "uint8" else kind
        inputs = [helper.make_tensor_value_info(image, given, shape)]
        if self.as_inputs:
            inputs += [helper.make_tensor_value_info(c.name, c.data_type, list(c.dims)) for c in self.constants]
        output = helper.make_tensor_value_info(
            end, kind, ["n", "m"] if self.classifier != "none" else ["n", *["m"] * (1 + 2 * (self.pool == "kept"))]
        )
        graph = helper.make_graph(self.nodes, "small", inputs, [output], self.constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)

    def save(self, folder: Path, name: str = "small.onnx") -> str:
        """Write it; return its path."""
        onnx.save(self.model(), folder / name)
        return str(folder / name)


def given_by(path: str, image: NDArray[np.uint8], pixels: Any, output: str) -> NDArray[np.float32]:
    """Return what a file itself gives at a tensor for an image [H, W, C], run by onnxruntime without tlc.

    `pixels(image)` is what the network is given, [H, W, C].
    """
    import onnxruntime

    model: Any = onnx.load(path)
    graph = model.graph
    last = graph.input[0].type.tensor_type.shape.dim[3].dim_value in (1, 3)
    kind = graph.input[0].type.tensor_type.elem_type
    del graph.output[:]
    graph.output.append(onnx.ValueInfoProto(name=output))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    value = np.asarray(pixels(image.astype(np.float32)))
    value = value[None] if last else value.transpose(2, 0, 1)[None]
    feed = value.astype(helper.tensor_dtype_to_np_dtype(kind))
    batch = graph.input[0].type.tensor_type.shape.dim[0].dim_value
    feed = np.repeat(feed, batch, axis=0) if batch > 1 else feed
    return np.asarray(session.run(None, {graph.input[0].name: feed})[0][0], np.float32)
