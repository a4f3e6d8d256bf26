"""Lower to ONNX: the trunk once per scheme, then a whole model for any head on it, with dynamic batch and metadata."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.network.freeze import serving
from tlc_edge.compiler.network.onnx_network import OnnxNetwork
from tlc_edge.compiler.records import Fused, Lowered, LoweredTrunk, Trunk
from tlc_edge.runtime.bundle.manifest import ModelFile
from tlc_edge.runtime.errors import BuildError
from tlc_edge.runtime.quiet import quiet
from tlc_edge.targets.schemes import FLOAT16, FLOAT32, INT8, MIXED, SCHEMES, names

from .onnx_attach import attach_onnx
from .onnx_bias import correct_onnx
from .onnx_content import check_onnx_content
from .onnx_missing import cannot_say, express, hold_captured
from .onnx_padding import extend_transposed, fold_padding, pad_after_transpose
from .onnx_quantize import quantize_onnx
from .onnx_trunk import trunk_model
from .onnx_weights import halve

# What onnxruntime 1.14 and later, OpenVINO and the browser builds all read.
OPSET = 17


@dataclass(frozen=True, eq=False)
class Lowering:
    """What a lowering is given."""

    model: Any
    """The trunk in float32; it may be edited."""
    trunk: Trunk
    scheme: str
    calibration: NDArray[np.uint8] | None
    """[N, H, W, C]"""
    exclude: tuple[str, ...]
    """The nodes that stay in float32."""


def lower_trunk_onnx(
    trunk: Trunk,
    scheme: str = FLOAT32.name,
    calibration: NDArray[np.uint8] | None = None,
    exclude: tuple[str, ...] = (),
) -> LoweredTrunk:
    """Return the trunk as an ONNX file with the one output `features`.

    `calibration` [N, H, W, C] sets the ranges of the schemes that have some; `exclude` names the nodes that a scheme
    chosen by layer leaves in float32.

    Raises:
        BuildError: a scheme that has no ONNX lowering; or the file does not hold what the scheme says.
    """
    if scheme not in LOWERINGS:
        raise BuildError(f"scheme {scheme!r} has no ONNX lowering; choose {', '.join(names('onnx'))}")
    correction = None
    if isinstance(trunk.model, OnnxNetwork):
        given = _from_onnx(trunk)
        if SCHEMES[scheme].weights == "int8":  # a Keras network comes with its biases corrected
            given, correction = correct_onnx(given, calibration, exclude)
    else:
        given = _from_keras(trunk)
    model = LOWERINGS[scheme](Lowering(given, trunk, scheme, calibration, exclude))
    data = bytes(model.SerializeToString(deterministic=True))
    check_onnx_content(data, scheme)
    return LoweredTrunk("onnx", scheme, data, correction)


def _as_it_is(given: Lowering) -> Any:
    return given.model


def _halved(given: Lowering) -> Any:
    halve(given.model)
    return given.model


def _quantized(given: Lowering) -> Any:
    if given.calibration is None or not len(given.calibration):
        raise BuildError(f"{given.scheme} needs calibration images to set its ranges; give at least one")
    model = quantize_onnx(given.model, given.calibration, exclude=given.exclude)
    _sign(model, given.trunk)
    return model


LOWERINGS: dict[str, Callable[[Lowering], Any]] = {
    FLOAT32.name: _as_it_is,
    FLOAT16.name: _halved,
    INT8.name: _quantized,
    MIXED.name: _quantized,
}
"""By scheme: what makes the ONNX model of a trunk."""


def _from_keras(trunk: Trunk) -> Any:
    with quiet():
        import tf2onnx

        function = serving(trunk.model, trunk.backbone.input, from_pixels=True, batch=None)
        model: Any
        traced = function.get_concrete_function().graph
        unlike = {"ResizeArea"} & {operation.type for operation in traced.get_operations()}
        if unlike:
            raise BuildError(cannot_say(unlike))
        model, _ = tf2onnx.convert.from_function(function, input_signature=function.input_signature, opset=OPSET)
    hold_captured(model, traced)
    express(model, OPSET)
    extend_transposed(model.graph)
    pad_after_transpose(model.graph)
    fold_padding(model.graph)
    _rename(model, ["features"])
    _sign(model, trunk)
    return model


def _from_onnx(trunk: Trunk) -> Any:
    model = trunk_model(trunk)
    pad_after_transpose(model.graph)
    fold_padding(model.graph)
    _rename(model, ["features"], nodes=False)
    _sign(model, trunk)
    return model


def _sign(model: Any, trunk: Trunk) -> None:
    """Take out what the converters write about themselves: two equal builds shall give equal bytes."""
    model.producer_name, model.producer_version, model.doc_string = "tlc", "", ""
    model.graph.name, model.graph.doc_string = trunk.backbone.name, ""


def onnx_model(trunk: LoweredTrunk, fused: Fused) -> Lowered:
    """Return `model.onnx`: the lowered trunk with head and neck."""
    model = attach_onnx(trunk, fused.head, fused.neck)
    for key, value in (
        ("labels", json.dumps(fused.labels, ensure_ascii=False)),
        ("preprocessing", json.dumps(asdict(fused.preprocessing), sort_keys=True)),
    ):
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    data = bytes(model.SerializeToString(deterministic=True))
    check_onnx_content(data, trunk.scheme, attached=True)
    return Lowered(ModelFile("model.onnx", "onnx", trunk.scheme, len(data)), data)


def _rename(model: Any, outputs: Sequence[str], *, nodes: bool = True) -> None:
    """Give input and outputs the contract's names, and everything between plain numbers.

    The converter's inner names count how many models the process has made before. Names of `nodes` stay where they are
    a file's own.
    """
    graph = model.graph
    names = {graph.input[0].name: "image"}
    names.update(zip((o.name for o in graph.output), outputs, strict=True))
    for node in graph.node:
        for name in (*node.input, *node.output):
            names.setdefault(name, f"t{len(names)}" if name else "")
    del graph.value_info[:]
    for item in (*graph.input, *graph.output, *graph.initializer):
        item.name = names[item.name]
    graph.initializer.sort(key=lambda i: int(i.name[1:]))
    for value in (*graph.input, *graph.output):
        (batch, *_) = value.type.tensor_type.shape.dim
        if not batch.dim_value:  # a network that takes one image and no more says so
            batch.dim_param = "batch"
    for i, node in enumerate(graph.node):
        node.name, node.doc_string = f"{node.op_type}_{i}" if nodes else node.name, ""
        node.input[:] = [names[n] for n in node.input]
        node.output[:] = [names[n] for n in node.output]
