"""What an ONNX file refers to: it may keep its numbers in other files, by names that a stranger chose.

The file is a protocol buffer (developers.google.com/protocol-buffers/docs/encoding); the fields looked at are those
of onnx.proto3. The onnx package is none that a device has.
"""

from __future__ import annotations

from tlc_edge.runtime.bundle.protobuf import fields

# message: field -> message inside it, of those through which a tensor can be reached
_INSIDE = {
    "model": {7: "graph", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14  # of a tensor
_DEEPEST = 100


def refers_outside(data: bytes) -> bool:
    """Return whether any tensor of an ONNX file says that its numbers are in another file.

    Raises:
        ValueError: it is no ONNX file, or a damaged one.
    """
    open_: list[tuple[memoryview, str, int]] = [(memoryview(data), "model", 0)]
    while open_:
        message, kind, depth = open_.pop()
        if depth > _DEEPEST:
            raise ValueError("graphs within graphs without end")
        for field, value in fields(message):
            if kind == "tensor":
                if field == _EXTERNAL_DATA or (field == _DATA_LOCATION and value != 0):
                    return True
            elif isinstance(value, memoryview) and field in _INSIDE[kind]:
                open_.append((value, _INSIDE[kind][field], depth + 1))
    return False
