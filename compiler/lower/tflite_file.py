"""A TFLite file as the objects of its schema."""

from __future__ import annotations

from typing import Any


def read_tflite(data: bytes) -> Any:
    """Return a file as the schema's object form, a `ModelT` that can be changed and packed again."""
    from ai_edge_litert import schema_py_generated as schema

    return schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(bytearray(data), 0))


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
