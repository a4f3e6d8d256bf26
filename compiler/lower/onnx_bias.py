"""Bias correction for networks that came in ONNX: what `bias_correction` does in Keras, node by node in onnxruntime.

The quantizer finds the grid of the weights by itself, so only biases change. Activations are not rounded here: weights
bring most of the shift.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.network.onnx_graph import (
    add_constant,
    attribute,
    constants,
    drop_unread,
    fresh,
    readers,
    session,
)
from tlc_edge.compiler.records import Correction
from tlc_edge.runtime.quiet import quiet

_Arrays = list[NDArray[Any]]
"""A tensor, for one image each: some networks take one image and no more."""
_Floats64 = NDArray[np.float64]

_USED = 30
"""Images that are used at most: two thirds set the biases, the others judge."""
_FEWEST = 4
_BYTES = 250_000_000
"""Of one tensor of one run, about, for all images; a large network gets fewer."""
_ROUNDS = 3
_STEEPEST = 0.1
_RELUS = ("Relu", "Clip")


def correct_onnx(
    model: Any, calibration: NDArray[np.uint8] | None, exclude: Collection[str] = ()
) -> tuple[Any, Correction | None]:
    """Return a float32 ONNX trunk with biases for weights that are rounded to int8, and what they are worth.

    The model itself comes back where the features of images that set no bias would lie no nearer to float's; and, with
    no `Correction`, where there is nothing to correct or onnxruntime does not run a node by itself.

    Args:
        model: from uint8 images to features; it stays as it is.
        calibration: training images [N, H, W, C].
        exclude: names of the nodes that stay in float32.
    """
    if calibration is None or len(calibration) < 2:
        return model, None
    made: Any = type(model)()
    made.CopyFrom(model)
    walk = _Walk(made, exclude)
    if not walk.rounded:
        return model, None
    try:
        first = walk.largest(calibration[:1])
        count = min(len(calibration), _USED, max(_FEWEST, _BYTES // first))
        unseen = count // 3 if count > 2 else count - 1
        judging = calibration[count - unseen : count]
        walk.correct(calibration[: count - unseen])
        drop_unread(made.graph)
        floats, plain, corrected = (_features(m, judging) for m in (model, walk.plain(model), walk.plain(made)))
    except Exception:  # onnxruntime's errors share no base
        return model, None
    before, after = _distance(plain, floats), _distance(corrected, floats)
    taken = after < before
    correction = Correction(len(judging), _cosine(plain, floats), _cosine(corrected, floats), taken)
    return (made if taken else model), correction


@dataclass(frozen=True, eq=False)
class _Biased:
    """Where the bias of a node with rounded weights is."""

    node: Any
    """That adds it: the node itself, or an addition after it."""
    place: int
    """Which of its inputs."""
    channels: int
    axis: int


class _Walk:
    """A model's nodes in order, one by one."""

    def __init__(self, model: Any, exclude: Collection[str]) -> None:
        self._model, self._graph = model, model.graph
        self._known = constants(self._graph)
        self._reading = readers(self._graph)
        self._ends = {output.name for output in self._graph.output}
        self.rounded: dict[str, NDArray[np.float32]] = {}
        """What weights become, by the name of their constant."""
        self._biases: dict[str, _Biased] = {}
        """By the tensor that has the bias in it."""
        for node in self._graph.node:
            if node.name not in exclude:
                self._take(node)

    def _take(self, node: Any) -> None:
        weight = self._known.get(node.input[1]) if len(node.input) > 1 else None
        if weight is None or weight.dtype != np.float32:
            return
        if node.op_type == "Conv":
            axis, biased = 0, _Biased(node, 2, len(weight), 1)
        elif node.op_type == "Gemm" and weight.ndim == 2 and attribute(node, "beta", 1.0) == 1.0:
            axis = 0 if attribute(node, "transB", 0) else 1
            biased = _Biased(node, 2, weight.shape[axis], -1)
        elif node.op_type == "MatMul" and weight.ndim == 2:
            axis, added = 1, self._added(node, weight.shape[1])
            if added is None:
                self.rounded[node.input[1]] = _on_grid(weight, axis)
                return
            biased = added
        else:
            return
        self.rounded[node.input[1]] = _on_grid(weight, axis)
        bias = biased.node.input[biased.place] if len(biased.node.input) > biased.place else ""
        if not bias or self._known.get(bias, np.zeros(0)).shape == (biased.channels,):
            self._biases[biased.node.output[0]] = biased

    def _added(self, node: Any, channels: int) -> _Biased | None:
        """Return the addition of a bias that alone reads what a product gives."""
        after = self._reading.get(node.output[0], [])
        if len(after) != 1 or after[0].op_type != "Add" or node.output[0] in self._ends:
            return None
        place = 1 if after[0].input[0] == node.output[0] else 0
        bias = self._known.get(after[0].input[place])
        return _Biased(after[0], place, channels, -1) if bias is not None and bias.shape == (channels,) else None

    def largest(self, images: NDArray[np.uint8]) -> int:
        """Return the bytes of the largest tensor for one image."""
        sizes = [1]
        values: dict[str, _Arrays] = {self._graph.input[0].name: [images]}
        for node in self._graph.node:
            self._run(node, values, {})
            sizes += [sum(x.nbytes for x in values[name]) for name in node.output if name]
        return max(sizes)

    def correct(self, images: NDArray[np.uint8]) -> None:
        """Give each bias what brings its channel's mean, behind a ReLU, to float's."""
        source = self._graph.input[0].name
        floats: dict[str, _Arrays] = {source: [image[None] for image in images]}
        moved = dict(floats)
        left = Counter(name for node in self._graph.node for name in node.input)
        for node in self._graph.node:
            self._run(node, floats, {})
            self._run(node, moved, self.rounded)
            biased = self._biases.get(node.output[0])
            if biased is not None:
                name = node.output[0]
                shift = self._shift(name, floats[name], moved[name], biased.axis)
                self._add(biased, shift)
                shape = [1] * moved[name][0].ndim
                shape[biased.axis] = -1
                moved[name] = [x + shift.reshape(shape).astype(np.float32) for x in moved[name]]
            for name in node.input:
                left[name] -= 1
                if not left[name] and name not in self._ends:
                    floats.pop(name, None)
                    moved.pop(name, None)

    def plain(self, model: Any) -> Any:
        """Return a model of the same nodes with the weights rounded."""
        from onnx import numpy_helper

        made: Any = type(model)()
        made.CopyFrom(model)
        for constant in made.graph.initializer:
            if constant.name in self.rounded:
                constant.CopyFrom(numpy_helper.from_array(self.rounded[constant.name], constant.name))
        return made

    def _shift(self, name: str, floats: _Arrays, moved: _Arrays, axis: int) -> _Floats64:
        after = self._reading.get(name, [])
        low, high = -np.inf, np.inf
        if len(after) == 1 and after[0].op_type in _RELUS and name not in self._ends:
            low, high = self._range(after[0])
        target = _means([np.clip(x, low, high) for x in floats], axis)
        shift = best = np.zeros_like(target)
        least = np.full_like(target, np.inf)
        for i in range(_ROUNDS + 1):
            sums = [x + _along(shift, x, axis) for x in moved]
            missing = target - _means([np.clip(x, low, high) for x in sums], axis)
            best = np.where(np.abs(missing) < least, shift, best)
            least = np.minimum(np.abs(missing), least)
            if i < _ROUNDS:
                inside = _means([((x > low) & (x < high)).astype(np.float32) for x in sums], axis)
                shift = shift + np.where(inside > 0, missing / np.maximum(inside, _STEEPEST), 0.0)
        return best

    def _range(self, node: Any) -> tuple[float, float]:
        if node.op_type == "Relu":
            return 0.0, np.inf
        ends = [self._known.get(name) for name in node.input[1:]]
        bounds = [None if end is None else float(end.ravel()[0]) for end in (*ends, None, None)[:2]]
        if any(name and end is None for name, end in zip(node.input[1:], ends, strict=True)):
            return -np.inf, np.inf  # bounds that are computed
        return -np.inf if bounds[0] is None else bounds[0], np.inf if bounds[1] is None else bounds[1]

    def _add(self, biased: _Biased, shift: _Floats64) -> None:
        """Write a bias of its own for a node: constants may be shared."""
        node, place = biased.node, biased.place
        while len(node.input) <= place:
            node.input.append("")
        old = self._known.get(node.input[place], np.zeros(biased.channels, np.float32))
        name = fresh(self._known, f"b{len(self._known)}")  # short: the quantizer makes four names of each
        self._known[name] = np.asarray(old + shift, np.float32)
        node.input[place] = add_constant(self._graph, name, self._known[name])

    def _run(self, node: Any, values: dict[str, _Arrays], instead: dict[str, NDArray[np.float32]]) -> None:
        """Run a node for every image, with other weights where there are some."""
        from onnx import helper

        given = [name for name in dict.fromkeys(node.input) if name in values]
        alone: Any = type(self._model)(ir_version=self._model.ir_version)
        alone.opset_import.extend(self._model.opset_import)
        graph = alone.graph
        graph.name = "node"
        graph.node.append(node)
        for name in dict.fromkeys(node.input):
            if name in self._known:
                add_constant(graph, name, instead.get(name, self._known[name]))
        for name in given:
            kind = helper.np_dtype_to_tensor_dtype(values[name][0].dtype)
            graph.input.append(helper.make_tensor_value_info(name, kind, None))
        names = [name for name in node.output if name]
        graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
        opened = session(alone, plain=True)
        count = max((len(values[name]) for name in given), default=0)
        found = [opened.run(names, {name: values[name][i] for name in given}) for i in range(count)]
        if not given:  # a constant of many
            some = opened.run(names, {})
            self._known.update(zip(names, map(np.asarray, some), strict=True))
            return
        for j, name in enumerate(names):
            values[name] = [np.asarray(one[j]) for one in found]


def _on_grid(weight: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    others = tuple(i for i in range(weight.ndim) if i != axis)
    scale = np.abs(weight.astype(np.float64)).max(axis=others, keepdims=True) / 127
    scale[scale == 0] = 1.0
    return np.asarray(np.rint(weight / scale) * scale, np.float32)


def _along(shift: _Floats64, x: NDArray[Any], axis: int) -> NDArray[np.float32]:
    shape = [1] * x.ndim
    shape[axis] = -1
    return shift.reshape(shape).astype(np.float32)


def _means(arrays: Sequence[NDArray[Any]], axis: int) -> _Floats64:
    """Return the mean of each channel over images and places, [C]."""
    others = tuple(i for i in range(arrays[0].ndim) if i != axis % arrays[0].ndim)
    return np.asarray(np.mean([x.mean(axis=others, dtype=np.float64) for x in arrays], axis=0), np.float64)


def _features(model: Any, images: NDArray[np.uint8]) -> _Floats64:
    opened = session(model)
    with quiet():
        found = [opened.run(None, {model.graph.input[0].name: image[None]})[0] for image in images]
    return np.concatenate(found).reshape(len(images), -1).astype(np.float64)


def _distance(found: _Floats64, floats: _Floats64) -> float:
    return float(np.square(found - floats).sum())


def _cosine(a: _Floats64, b: _Floats64) -> float:
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return float(np.mean((a * b).sum(axis=1) / np.maximum(lengths, 1e-30)))
