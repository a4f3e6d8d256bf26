"""Settle an ONNX graph on one size of image: what depends on shapes alone becomes a constant, and shapes are known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlc_edge.runtime.errors import BuildError, first_line
from tlc_edge.runtime.quiet import quiet

from .onnx_graph import add_constant, constants, depending, fresh, run, set_input, until
from .onnx_plain import plain_axes, plain_gemm, resize_as_before

OPSET = 17
"""The operator set of model files where that can be: onnxruntime 1.14 and later and the browser read it."""
_NEWEST = 21  # what onnxruntime 1.20, the oldest that tlc installs, reads
_OLDEST_QUANTIZED = 13  # per-channel scales came with it
_IR = {OPSET: 8, _NEWEST: 10}
_LARGEST = 1 << 30  # bytes of one tensor of one image

# How much they give depends on what is in the image.
_OPEN = frozenset({"NonZero", "Unique", "Compress", "NonMaxSuppression"})
_NO_TENSORS = ("Sequence", "SplitToSequence", "ConcatFromSequence", "Optional", "String", "Regex", "TfIdf")


@dataclass(frozen=True)
class ImageInput:
    """The one image that a network takes."""

    name: str
    height: int
    width: int
    channels: int
    channels_first: bool
    pixels: bool
    """It takes uint8, so pixels as they are."""

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Of one image, as the network takes it."""
        h, w, c = self.height, self.width, self.channels
        return (1, c, h, w) if self.channels_first else (1, h, w, c)

    def given(self, image: NDArray[Any]) -> NDArray[Any]:
        """Return an image [H, W, C] as the network takes it."""
        moved = image.transpose(2, 0, 1) if self.channels_first else image
        return np.ascontiguousarray(moved[None], np.uint8 if self.pixels else np.float32)


@dataclass(frozen=True, eq=False)
class Settled:
    """A network for one image of one size."""

    original: Any
    """As the file has it, with that size."""
    model: Any
    """The same, with nothing in it but what is computed from the image's values."""
    shapes: dict[str, tuple[int, ...]]
    """Of each tensor in it, with the batch of 1."""
    floats: frozenset[str]
    """Tensors of floating-point numbers."""
    idle: dict[str, str]
    """Nodes that do nothing and are gone, by name: what they read."""


def settle(name: str, model: Any, image: ImageInput) -> Settled:
    """Settle a model, which is edited, on an image.

    Raises:
        BuildError: it cannot be run on such an image, or not be brought to an operator set that devices read.
    """
    graph = model.graph
    given = {i.name for i in graph.initializer}
    for value in [i for i in graph.input if i.name in given]:  # older files list their constants as inputs too
        graph.input.remove(value)
    kind = graph.input[0].type.tensor_type.elem_type
    set_input(graph.input[0], image.name, image.shape, kind)
    values = depending(graph, image.name)
    ends = [o.name for o in graph.output if o.name in values]
    if not ends:
        raise BuildError(f"{name}: what it gives does not depend on the image")
    model = until(model, ends)
    _refuse(name, model.graph, values)
    _check_sizes(name, model, image)
    computed = [t for node in model.graph.node for t in node.output if t in values]
    known = {i.name for i in model.graph.initializer}
    inner = [n for n in model.graph.node if values.intersection(n.output)]
    fixed = sorted({t for n in inner for t in n.input if t} - values - known)
    try:
        probe = np.random.default_rng(0).integers(0, 256, (image.height, image.width, image.channels))
        whole = until(model, [*computed, *fixed])
        found = dict(zip([*computed, *fixed], run(whole, {image.name: image.given(probe)}, plain=True), strict=True))
    except Exception as e:  # onnxruntime's errors share no base
        raise BuildError(
            f"{name} cannot be run on {image.height}x{image.width} pixels in onnxruntime ({first_line(e)})"
        ) from None
    settled: Any = until(model, ends)
    for node in [n for n in settled.graph.node if not values.intersection(n.output)]:
        settled.graph.node.remove(node)
    for tensor in fixed:
        add_constant(settled.graph, tensor, found[tensor])
    plain_gemm(settled.graph)
    plain_axes(settled.graph, {image.name: image.shape, **{name: value.shape for name, value in found.items()}})
    idle = _drop_idle(settled.graph, found)
    settled = until(settled, ends)
    for output in settled.graph.output:
        set_input(output, output.name, found[output.name].shape, _element(found[output.name]))
    settled = _at_opset(name, settled)
    given_by = [node.output[0] for node in settled.graph.node]
    new = [t for t in given_by if t not in found]
    if new:  # bringing it to another operator set can take more nodes
        values_ = run(until(settled, new), {image.name: image.given(probe)}, plain=True)
        found.update(zip(new, values_, strict=True))
    return Settled(
        original=model,
        model=settled,
        shapes={image.name: image.shape, **{t: found[t].shape for t in (*computed, *new)}},
        floats=frozenset(t for t in (*computed, *new) if found[t].dtype == np.float32),
        idle=idle,
    )


def _drop_idle(graph: Any, found: dict[str, NDArray[Any]]) -> dict[str, str]:
    """Remove the nodes that give what they read, in place; return by their names what that is."""
    ends = {o.name for o in graph.output}
    same: dict[str, str] = {}
    idle: dict[str, str] = {}
    for node in list(graph.node):
        node.input[:] = [same.get(name, name) for name in node.input]
        given, made = node.input[0] if node.input else "", node.output[0]
        nothing = node.op_type in ("Identity", "Dropout") or (
            node.op_type == "Cast" and given in found and found[given].dtype == found[made].dtype
        )
        if nothing and made not in ends and len([t for t in node.output if t in found]) == 1:
            same[made], idle[node.name] = given, given
            graph.node.remove(node)
    return idle


def _element(values: NDArray[Any]) -> int:
    from onnx import helper

    return int(helper.np_dtype_to_tensor_dtype(values.dtype))


def _refuse(name: str, graph: Any, values: set[str]) -> None:
    for node in graph.node:
        if node.op_type.startswith(_NO_TENSORS):
            raise BuildError(f"{name} has {node.op_type} ({node.name}), which is no step of a network on an image")
        if node.op_type in _OPEN and values.intersection(node.output):
            raise BuildError(
                f"{name} has {node.op_type} ({node.name}): how much it gives depends on what is in the image, so the "
                "network has no fixed shape; export the part before it"
            )


def _check_sizes(name: str, model: Any, image: ImageInput) -> None:
    """Refuse a network that would need more memory for one tensor than any device has, before it is run."""
    import onnx

    try:
        with quiet():
            inferred: Any = onnx.shape_inference.infer_shapes(model, data_prop=True)
    except Exception:  # what cannot be inferred is seen when it is run
        return
    for value in inferred.graph.value_info:
        size = 4
        for dim in value.type.tensor_type.shape.dim:
            size *= max(int(dim.dim_value), 1)
        if size > _LARGEST:
            raise BuildError(
                f"{name}: {value.name} would have {size:,} bytes for one image of {image.height}x{image.width}; "
                "give a smaller --input-size"
            )


def _at_opset(name: str, model: Any) -> Any:
    """Return a model in the operator set that files are written in, or the nearest that devices read."""
    import onnx
    from onnx import version_converter

    reason = ""
    version = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)
    for wanted in (OPSET, _NEWEST):
        if version == wanted:
            break
        try:
            with quiet():
                converted: Any = version_converter.convert_version(model, wanted)
                resize_as_before(converted.graph, version)
                _drop_newer(converted.graph, wanted)
                onnx.checker.check_model(converted)
        except Exception as e:  # it raises whatever it meets
            if _OLDEST_QUANTIZED <= version <= _NEWEST:
                break
            reason = first_line(e)
            continue
        model, version = _renamed(converted, model), wanted
        break
    else:
        raise BuildError(
            f"{name} is written in operator set {version}, which cannot be brought to {OPSET} ({reason}); export it "
            f"with opset_version={OPSET}"
        )
    del model.opset_import[:]
    model.opset_import.add(domain="", version=version)
    model.ir_version = _IR.get(version, 8 if version <= OPSET else 10)
    del model.graph.value_info[:]
    return model


def _drop_newer(graph: Any, version: int) -> None:
    """Remove an attribute that the converter leaves behind, where it is as if it were not there."""
    for node in graph.node:
        for a in [a for a in node.attribute if a.name == "noop_with_empty_axes" and not a.i]:
            if version < 18:
                node.attribute.remove(a)


def _renamed(converted: Any, model: Any) -> Any:
    """Return a converted model whose nodes have the names they had: what they give is called as before."""
    names = {node.output[0]: node.name for node in model.graph.node}
    taken = set(names.values())
    for node in converted.graph.node:
        # It can take several nodes, and the converter calls them all as the one.
        node.name = names.get(node.output[0]) or fresh(taken, node.output[0])
        taken.add(node.name)
    return converted


def free_batch(model: Any) -> Any:
    """Return a copy of a model of one image that takes any number, where only its reshapes say how many."""
    from onnx import numpy_helper

    copy: Any = type(model)()
    copy.CopyFrom(model)
    known = constants(copy.graph)
    for node in copy.graph.node:
        if node.op_type == "Reshape" and node.input[1] in known:
            shape = known[node.input[1]].copy()
            if len(shape) and shape[0] == 1:
                shape[0] = 0  # as many as there are
                name = f"{node.output[0]}_shape"
                copy.graph.initializer.append(numpy_helper.from_array(shape, name))
                node.input[1] = name
    for value in (*copy.graph.input, *copy.graph.output):
        dims = value.type.tensor_type.shape.dim
        if len(dims):
            dims[0].Clear()
            dims[0].dim_param = "batch"
    return copy
