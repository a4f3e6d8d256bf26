"""Read an ONNX file as data: one plain graph of ONNX's own operations in float32, with all numbers inside.

Nothing is run here. Numbers that the file keeps elsewhere are read from its own folder and nowhere else; what is no
network that computes one answer from its input, the same each time, is refused by name.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tlc_edge.runtime.errors import BuildError, first_line
from tlc_edge.runtime.quiet import quiet

from .pins import file_sha256

_LARGEST = 1 << 31  # bytes: what a protocol buffer can hold
_LOCATION = re.compile(rb"\x0a\x08location\x12([\x01-\x7f])", re.DOTALL)
"""The entry of a tensor that names the file of its numbers, up to that name; a group holds its length."""
_OWN = ("", "ai.onnx")
_RANDOM = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"}
)
_QUANTIZED = frozenset(
    {
        "QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger", "DynamicQuantizeLinear", "QuantizeLinear",
    }
)  # fmt: skip


def read_onnx(path: Path) -> tuple[Any, str]:
    """Return the model of an ONNX file, and the SHA-256 of the file and what it keeps beside it.

    Half and double precision become float32, functions are laid open, every node has a name of its own.

    Raises:
        BuildError: it is damaged, keeps numbers outside its folder, or has what is no part of a plain network.
    """
    digest = file_sha256(path)
    if path.stat().st_size >= _LARGEST:
        raise BuildError(f"{path}: {path.stat().st_size:,} bytes, and an ONNX file has fewer than {_LARGEST:,}")
    try:
        model, beside = _parsed(path)
        with quiet():
            model = _plain(model, path)
    except BuildError:
        raise
    except Exception as e:  # protobuf, and onnx in C++, have errors of their own
        raise BuildError(f"{path}: not a valid ONNX file, or a damaged one ({first_line(e)})") from None
    if beside:
        digest = hashlib.sha256("\n".join((digest, *beside)).encode()).hexdigest()
    return model, digest


def size_with_parts(path: Path) -> int:
    """Return the bytes of an ONNX file and of the files beside it that it seems to keep numbers in; nothing is parsed.

    Raises:
        BuildError: it cannot be read.
    """
    try:
        data = path.read_bytes() if path.stat().st_size < _LARGEST else b""
        total = path.stat().st_size
    except OSError as e:
        raise BuildError(f"{path}: cannot be read ({e.strerror or e})") from None
    for where in {data[found.end() : found.end() + found[1][0]] for found in _LOCATION.finditer(data)}:
        with contextlib.suppress(OSError, ValueError):
            beside = path.parent / Path(os.fsdecode(where)).name
            total += beside.lstat().st_size if beside.is_file() else 0
    return total


def _parsed(path: Path) -> tuple[Any, list[str]]:
    """Return the model of a file, with all numbers in it, and a hash of each other file that they came from."""
    import onnx

    model: Any = onnx.load_from_string(path.read_bytes())
    if not model.graph.node or not model.graph.output:
        raise BuildError(f"{path}: not an ONNX file, or one without a network in it")
    _check_text(model.graph)
    return model, _bring_in(model, path)


def _check_text(graph: Any) -> None:
    """Raise a ValueError for a name that is no text."""
    graph.name, graph.doc_string = "network", ""
    values = (*graph.input, *graph.output)
    dims = [d.dim_param for value in values for d in value.type.tensor_type.shape.dim]
    tensors = [i.name for i in graph.initializer]
    nodes = [n for node in graph.node for n in (node.name, node.op_type, node.domain, *node.input, *node.output)]
    attributes = [a.name for node in graph.node for a in node.attribute]
    if not all(isinstance(n, str) for n in (*dims, *tensors, *nodes, *attributes, *(v.name for v in values))):
        raise ValueError("a name is no text")


def _plain(model: Any, path: Path) -> Any:
    """Return a model with nothing in it but operations of ONNX's own, each under a name."""
    import onnx
    from onnx import inliner

    if model.functions:
        model = inliner.inline_local_functions(model)
    _refuse(path.name, model)
    with _outputs_told(model.graph):
        onnx.checker.check_model(model)
    _to_float32(path.name, model)
    name_nodes(model.graph)
    return model


@contextlib.contextmanager
def _outputs_told(graph: Any) -> Generator[None]:
    """Let outputs that are a name alone have a type and shape for now: the checker wants them, and no engine does."""
    given = [type(output).FromString(output.SerializeToString()) for output in graph.output]
    for output in graph.output:
        if not output.HasField("type") or output.type.HasField("tensor_type"):
            kind = output.type.tensor_type
            kind.elem_type = kind.elem_type or 1
            kind.shape.SetInParent()
    try:
        yield
    finally:
        for output, before in zip(graph.output, given, strict=True):
            output.CopyFrom(before)


def _tensors(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def _bring_in(model: Any, path: Path) -> list[str]:
    """Read the numbers that a model keeps in other files of its folder; return a hash of each of these files."""
    from onnx import TensorProto

    read: dict[str, bytes] = {}
    for graph in (model.graph, *model.functions):
        tensors = _tensors(graph) if graph is model.graph else _of_function(graph)
        for tensor in tensors:
            if tensor.data_location != TensorProto.EXTERNAL and not tensor.external_data:
                continue
            given = {entry.key: entry.value for entry in tensor.external_data}
            where = given.get("location", "")
            if where not in read:
                read[where] = _beside(path, where)
            tensor.raw_data = _piece(path, where, read[where], given)
            del tensor.external_data[:]
            tensor.data_location = TensorProto.DEFAULT
    return [f"{where} {hashlib.sha256(data).hexdigest()}" for where, data in sorted(read.items())]


def _of_function(function: Any) -> Iterator[Any]:
    return (a.t for node in function.node for a in node.attribute if a.HasField("t"))


def _beside(path: Path, where: str) -> bytes:
    """Return a file's bytes, which must lie in the ONNX file's own folder under a plain name."""
    plain = where and where == os.path.basename(where) and where not in (".", "..") and "\\" not in where  # noqa: PTH119
    if not plain or "\0" in where or ":" in where:
        raise BuildError(
            f"{path}: it keeps numbers in {where!r}, and only a file beside it is read; save it in one piece, "
            "onnx.save(onnx.load(FILE), NEW)"
        )
    found = path.parent / where
    try:
        kind = found.lstat()
        if not stat.S_ISREG(kind.st_mode) or kind.st_size >= 4 * _LARGEST:
            raise BuildError(f"{path}: it keeps numbers in {where!r}, which is no plain file beside it")
        return found.read_bytes()
    except OSError as e:
        raise BuildError(
            f"{path}: it keeps numbers in {where!r}, which cannot be read beside it ({e.strerror or e}); "
            "keep the two files together"
        ) from None


def _piece(path: Path, where: str, data: bytes, given: dict[str, str]) -> bytes:
    try:
        start = int(given.get("offset", "0"))
        length = int(given["length"]) if "length" in given else len(data) - start
    except ValueError:
        start = length = -1
    if start < 0 or length < 0 or start + length > len(data):
        raise BuildError(f"{path}: it keeps numbers in {where!r}, which is too short for them; it may be another file")
    return data[start : start + length]


def _refuse(name: str, model: Any) -> None:
    """Raise a BuildError for what is no plain network that can be cut, quantized and run everywhere."""
    for node in model.graph.node:
        called = f"{node.op_type} ({node.name or node.output[0] if node.output else node.name})"
        if node.domain not in _OWN:
            raise BuildError(
                f"{name} has {node.domain}::{node.op_type}, which is none of ONNX's own operations; export it without "
                "(an optimized or quantized file: give the one it was made from)"
            )
        if any(a.HasField("g") or a.graphs for a in node.attribute):
            raise BuildError(
                f"{name} has {called}: control flow, whose branches cannot be cut or quantized; export the network "
                "traced for one fixed size of image"
            )
        if node.op_type in _RANDOM:
            raise BuildError(f"{name} has {called}, which gives something else each time; export it for inference")
        if node.op_type in _QUANTIZED:
            raise BuildError(
                f"{name} is quantized already ({called}); give the float network it was made from: a build finds the "
                "ranges for int8 itself"
            )
        if _trains(node):
            raise BuildError(f"{name} was exported for training ({called}); export it after model.eval()")
    if model.graph.sparse_initializer:
        raise BuildError(f"{name} keeps sparse weights; export it with plain ones")


def _trains(node: Any) -> bool:
    mode = next((a.i for a in node.attribute if a.name == "training_mode"), 0)
    # Before opset 14 a batch norm for training was known by its further outputs.
    return node.op_type == "BatchNormalization" and (bool(mode) or sum(map(bool, node.output)) > 1)


def _to_float32(name: str, model: Any) -> None:
    """Make float32 of all that is half or double precision, in place."""
    from onnx import TensorProto, numpy_helper

    kinds = (TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)
    for tensor in _tensors(model.graph):
        if tensor.data_type in kinds:
            values = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
        # Attention masks are minus infinity on purpose; a weight that is no number spoils every answer.
        if tensor.data_type == TensorProto.FLOAT and np.isnan(numpy_helper.to_array(tensor)).any():
            raise BuildError(f"{name}: {tensor.name or 'a constant'} holds values that are no numbers (NaN)")
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name in ("to", "dtype") and attribute.i in kinds:
                attribute.i = TensorProto.FLOAT
    for value in (*model.graph.input, *model.graph.output):
        if value.type.tensor_type.elem_type in kinds:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    del model.graph.value_info[:]


def name_nodes(graph: Any) -> None:
    """Give each node a name that no other has: its own, else that of what it gives."""
    taken: set[str] = set()
    for node in graph.node:
        wanted = node.name or next(iter(filter(None, node.output)), node.op_type)
        name, number = wanted, 1
        while name in taken:
            name, number = f"{wanted}_{number}", number + 1
        node.name = name
        taken.add(name)
