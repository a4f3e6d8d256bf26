"""Random ONNX networks of every step that exporters write, to hold tlc's features against the file's own.

python tests/onnx_grammar.py 500      # that many, and the largest difference
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx_networks import MEAN, STD, given_by

STEPS = (
    *(
        "conv",
        "conv",
        "conv",
        "depthwise",
        "grouped",
        "transposed",
        "norm",
        "norm",
        "relu",
        "clip",
        "leaky",
        "prelu",
        "elu",
    ),
    *(
        "hardswish",
        "swish",
        "tanh",
        "softplus",
        "gelu",
        "max",
        "average",
        "residual",
        "squeeze",
        "branches",
        "pad",
        "turned",
    ),
    *("resize", "idle", "affine", "instance", "depth_to_space", "erf", "mean_and_back"),
)
PIXELS: dict[str, Callable[[NDArray[np.float32]], Any]] = {
    "imagenet": lambda x: (x / 255 - np.array(MEAN)) / np.array(STD),
    "-1..1": lambda x: x / 127.5 - 1,
    "0..255": lambda x: x,
    "caffe": lambda x: x[:, :, ::-1] - np.array([103.939, 116.779, 123.68]),
}


class Grammar:
    """One network, drawn by a seed."""

    def __init__(self, seed: int) -> None:
        self.draw = np.random.default_rng(seed)
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.channels, self.side = 3, int(self.draw.choice([16, 20, 24]))
        self.last = bool(self.draw.random() < 0.3)
        self.pixels = str(self.draw.choice(list(PIXELS)))
        self.steps: list[str] = []
        self._size = self.side
        self.made = self._make()

    def _node(self, kind: str, inputs: list[str], **given: Any) -> str:
        name = f"/{len(self.nodes)}/{kind}"
        self.nodes.append(helper.make_node(kind, inputs, [f"{name}_out"], name=name, **given))
        return f"{name}_out"

    def _constant(self, values: Any) -> str:
        name = f"constant {len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def _normal(self, *shape: int) -> str:
        fan = max(int(np.prod(shape[1:])), 1)
        return self._constant(self.draw.normal(0, 1.2 / np.sqrt(fan), shape).astype(np.float32))

    def _uniform(self, low: float, high: float, *shape: int) -> str:
        return self._constant(self.draw.uniform(low, high, shape).astype(np.float32))

    def conv(self, x: str, groups: int = 1, out: int | None = None) -> str:
        """A convolution, padded one of the ways there are."""
        kernel, stride = int(self.draw.choice([1, 3, 5])), int(self.draw.choice([1, 1, 2]))
        out = out or int(self.draw.choice([4, 8, 12]))
        inputs = [x, self._normal(out, self.channels // groups, kernel, kernel)]
        inputs += [self._normal(out)] if self.draw.random() < 0.7 else []
        given: dict[str, Any] = {"strides": [stride, stride], "group": groups, "kernel_shape": [kernel, kernel]}
        how = self.draw.choice(["same", "pads", "uneven", "none"])
        if how == "same":
            given["auto_pad"] = str(self.draw.choice(["SAME_UPPER", "SAME_LOWER"]))
        elif how != "none" or self.side < 6:
            given["pads"] = [kernel // 2] * 4 if how == "pads" else [0, kernel // 2, kernel // 2, kernel // 2 + 1]
        x = self._node("Conv", inputs, **given)
        self.channels = out
        self._measure(x)
        return x

    def _measure(self, x: str) -> None:
        graph = helper.make_graph(self.nodes, "part", [self._input()], [onnx.ValueInfoProto(name=x)], self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        inferred = onnx.shape_inference.infer_shapes(model)
        dims = next(o for o in inferred.graph.output if o.name == x).type.tensor_type.shape.dim
        self.side = min(int(dims[2].dim_value), int(dims[3].dim_value))

    def _input(self) -> Any:
        size = self._size
        shape = ["n", size, size, 3] if self.last else ["n", 3, size, size]
        return helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)

    def step(self, kind: str, x: str) -> str:
        """Put a step behind a tensor [N, C, H, W]."""
        c, node, draw = self.channels, self._node, self.draw
        if kind == "conv":
            return self.conv(x)
        if kind == "depthwise":
            return self.conv(x, c, c * int(draw.choice([1, 2])))
        if kind == "grouped":
            return self.conv(x, 2 if c % 2 == 0 else 1, 8)
        if kind == "transposed":
            self.channels = 4
            return node("ConvTranspose", [x, self._normal(c, 4, 3, 3)], kernel_shape=[3, 3], pads=[1, 1, 1, 1])
        if kind == "norm":
            stats = [self._uniform(0.5, 1.5, c), self._normal(c), self._normal(c), self._uniform(0.3, 2, c)]
            return node("BatchNormalization", [x, *stats], epsilon=float(draw.choice([1e-5, 1e-3])))
        if kind == "instance":
            return node("InstanceNormalization", [x, self._uniform(0.5, 1.5, c), self._normal(c)])
        if kind in ("relu", "elu", "tanh", "softplus", "erf", "hardswish"):
            return node({"hardswish": "HardSwish"}.get(kind, kind.capitalize()), [x])
        if kind == "clip":
            return node("Clip", [x, self._constant(np.float32(0)), self._constant(np.float32(6))])
        if kind == "leaky":
            return node("LeakyRelu", [x], alpha=0.2)
        if kind == "prelu":
            return node("PRelu", [x, self._uniform(0, 0.5, c, 1, 1)])
        if kind == "swish":
            return node("Mul", [x, node("Sigmoid", [x])])
        if kind == "gelu":
            half = node("Mul", [x, self._constant(np.float32(0.5))])
            wide = node("Erf", [node("Div", [x, self._constant(np.float32(1.4142135))])])
            return node("Mul", [half, node("Add", [wide, self._constant(np.float32(1))])])
        return self._larger(kind, x)

    def _larger(self, kind: str, x: str) -> str:
        c, node, draw = self.channels, self._node, self.draw
        if kind in ("max", "average") and self.side >= 4:
            more = {"count_include_pad": int(draw.integers(2))} if kind == "average" else {}
            name = {"max": "MaxPool", "average": "AveragePool"}[kind]
            x = node(name, [x], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], **more)
            self._measure(x)
            return x
        if kind == "residual":
            inner = node("Conv", [x, self._normal(c, c, 3, 3)], pads=[1, 1, 1, 1])
            return node("Add", [node("Relu", [inner]), x])
        if kind == "squeeze":
            mean = node("ReduceMean", [x], axes=[2, 3], keepdims=1)
            gate = node("HardSigmoid", [node("Conv", [mean, self._normal(c, c, 1, 1)])])
            return node("Mul", [x, gate])
        if kind == "branches":
            parts = [node("Conv", [x, self._normal(4, c, k, k)], pads=[k // 2] * 4) for k in (1, 3)]
            self.channels = 8
            return node("Concat", parts, axis=1)
        if kind == "pad":
            x = node("Pad", [x, self._constant(np.array([0, 0, 1, 0, 0, 0, 0, 1], np.int64))])
            self._measure(x)
            return x
        if kind == "turned":
            inner = node("Transpose", [x], perm=[0, 2, 3, 1])
            inner = node("Mul", [inner, self._uniform(0.5, 1.5, c)])
            return node("Transpose", [inner], perm=[0, 3, 1, 2])
        if kind == "resize" and self.side < 16:
            scales = self._constant(np.array([1, 1, 2, 2], np.float32))
            x = node("Resize", [x, "", scales], mode=str(draw.choice(["nearest", "linear"])))
            self._measure(x)
            return x
        if kind == "idle":
            return node("Cast", [node("Dropout", [node("Identity", [x])])], to=TensorProto.FLOAT)
        if kind == "affine":
            x = node("Mul", [x, self._uniform(0.5, 1.5, *((1, c, 1, 1) if draw.random() < 0.5 else (c, 1, 1)))])
            return node("Sub", [x, self._constant(np.float32(draw.normal()))])
        if kind == "depth_to_space" and c % 4 == 0 and self.side < 16:
            self.channels = c // 4
            x = node("DepthToSpace", [x], blocksize=2)
            self._measure(x)
            return x
        if kind == "mean_and_back":
            return node("Sub", [x, node("GlobalAveragePool", [x])])
        return node("Relu", [x])

    def _make(self) -> Any:
        x = "image"
        if self.last:
            x = self._node("Transpose", [x], perm=[0, 3, 1, 2])
        if self.draw.random() < 0.8:
            x = self.conv(x)
        for _ in range(int(self.draw.integers(2, 9))):
            kind = str(self.draw.choice(STEPS))
            self.steps.append(kind)
            x = self.step(kind, x)
        # A step whose output alone is read: the cut.
        self.cut = self._node("Relu", [x])
        flat = self._node("Flatten", [self._node("GlobalAveragePool", [self.cut])], axis=1)
        end = self._node("Softmax", [self._node("Gemm", [flat, self._normal(5, self.channels)], transB=1)], axis=1)
        output = helper.make_tensor_value_info(end, TensorProto.FLOAT, ["n", 5])
        graph = helper.make_graph(self.nodes, "grammar", [self._input()], [output], self.constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def largest_difference(seed: int, folder: Path) -> float:
    """Return how far tlc's float32 file is from the network of a seed, as a share of its largest feature."""
    from tlc_edge.compiler.backbones.find import load_backbone
    from tlc_edge.compiler.backbones.shave import shave
    from tlc_edge.compiler.lower.onnx_lower import lower_trunk_onnx
    from tlc_edge.compiler.options import Asked
    from tlc_edge.runtime.engines.onnx_engine import OnnxEngine

    drawn = Grammar(seed)
    path = str(folder / "net.onnx")
    onnx.save(drawn.made, path)
    size = drawn._size
    images = drawn.draw.integers(0, 256, (2, size, size, 3), np.uint8)
    trunk = shave(load_backbone(path, Asked(pixels=drawn.pixels)), drawn.cut.removesuffix("_out"))
    engine = OnnxEngine("onnxruntime", "onnxruntime", lower_trunk_onnx(trunk).data, 1, ["features"])
    wanted = np.stack([given_by(path, i, PIXELS[drawn.pixels], drawn.cut).mean((1, 2)) for i in images])
    found = np.stack([engine.run(i)[0] for i in images])
    return float(np.abs(wanted - found).max() / max(np.abs(wanted).max(), 1e-6))


def main() -> None:
    """Go through as many seeds as are asked for."""
    worst, count = (0.0, -1), int(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(count):
            try:
                worst = max(worst, (largest_difference(seed, Path(folder)), seed))
            except Exception as e:
                print(f"seed {seed}, {Grammar(seed).steps}: {type(e).__name__}: {e}", flush=True)
    print(f"{count} networks: largest relative difference {worst[0]:.1e}, of seed {worst[1]}")


if __name__ == "__main__":
    main()
