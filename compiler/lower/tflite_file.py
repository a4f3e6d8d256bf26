"""A TFLite file as the objects of its schema."""

from __future__ import annotations

from typing import Any

from tlc_edge.runtime.errors import BuildError


def read_tflite(data: bytes) -> Any:
    """Return a file as the schema's object form, a `ModelT` that can be changed and packed again."""
    from ai_edge_litert import schema_py_generated as schema

    return schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(bytearray(data), 0))


def only_graph(model: Any) -> Any:
    """Return the graph of a file.

    Raises:
        BuildError: it has several, as control flow that depends on the image makes.
    """
    if len(model.subgraphs) != 1:
        raise BuildError(
            "the network decides by what is in the image what it computes, which a TFLite file of tlc cannot; save it "
            "without such a condition or loop, or cut before it"
        )
    return model.subgraphs[0]


def pack_tflite(model: Any) -> bytes:
    """Return a file of such objects."""
    import flatbuffers

    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def operation_names() -> dict[int, str]:
    """Return TFLite's builtin operations by their codes, as its schema spells them."""
    from ai_edge_litert import schema_py_generated as schema

    return {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}


def tensor_name(tensor: Any) -> str:
    """Return a tensor's name: bytes where it was read from a file, text where it was set."""
    return tensor.name.decode() if isinstance(tensor.name, bytes) else str(tensor.name)
