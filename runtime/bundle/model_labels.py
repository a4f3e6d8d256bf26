"""The labels that a model file says itself, for those who load it without the bundle.

A TFLite file has them as `labels.txt` in the ZIP that is appended to it (TFLite Metadata), an ONNX file as JSON in its
`metadata_props` (onnx.proto3).
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence

from .protobuf import fields

FILE = KEY = "labels"
_METADATA, _NAME, _VALUE = 14, 1, 2
_LONGEST = 1 << 24  # bytes; 65,536 classes with names of 200 characters


def says_other_labels(form: str, data: bytes, labels: Sequence[str]) -> bool:
    """Return whether a model file, `tflite` or `onnx`, names other classes than these, or these in another order.

    One that names none, or none that can be read, says nothing else.
    """
    from tlc_edge.runtime.zip_damage import ZIP_DAMAGE

    try:
        found = {"tflite": _of_tflite, "onnx": _of_onnx}[form](data)
    except (*ZIP_DAMAGE, KeyError, RuntimeError):  # the last: a member with a password, or JSON too deep
        return False
    return any(list(labels) != one for one in found)


def _of_tflite(data: bytes) -> list[object]:
    import zipfile

    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        named = [entry for entry in archive.infolist() if entry.filename == f"{FILE}.txt"]
        texts: list[bytes] = []
        for entry in named:
            with archive.open(entry) as file:
                texts.append(file.read(_LONGEST))
    # Not `splitlines`, which takes other characters for the ends of lines too.
    return [text.decode("utf-8", "replace").removesuffix("\n").split("\n") for text in texts]


def _of_onnx(data: bytes) -> list[object]:
    found: list[object] = []
    for number, value in fields(memoryview(data)):
        if number == _METADATA and isinstance(value, memoryview):
            entry = dict(fields(value))
            if _text(entry.get(_NAME)) == KEY.encode():
                found.append(json.loads(_text(entry.get(_VALUE))))
    return found


def _text(value: memoryview | int | None) -> bytes:
    return bytes(value) if isinstance(value, memoryview) else b""
