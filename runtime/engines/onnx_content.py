"""What an ONNX file refers to: it may keep its numbers in other files, by names that a stranger chose.

The file is a protocol buffer (developers.google.com/protocol-buffers/docs/encoding); the fields looked at are those
of onnx.proto3. The onnx package is none that a device has.
"""

from __future__ import annotations

from collections.abc import Iterator

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
        for field, value in _fields(message):
            if kind == "tensor":
                if field == _EXTERNAL_DATA or (field == _DATA_LOCATION and value != 0):
                    return True
            elif isinstance(value, memoryview) and field in _INSIDE[kind]:
                open_.append((value, _INSIDE[kind][field], depth + 1))
    return False


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield key >> 3, value
            continue
        length = {1: 8, 5: 4}.get(kind, 0)
        if kind == 2:
            length, at = _varint(message, at)
        elif not length:
            raise ValueError("not an ONNX file")
        if at + length > len(message):
            raise ValueError("it ends early")
        yield key >> 3, message[at : at + length]
        at += length


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(message) or shift > 63:
            raise ValueError("it ends early")
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
