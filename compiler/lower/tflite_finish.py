"""Finish a TFLite file: tensor names, output order, signature, metadata, and no repeated vectors.

The converter leaves outputs called `Identity` and no signature; clients look for names. The metadata
(TFLite Metadata schema, `metadata_schema.fbs` of tflite-support, file identifier M001) is what MediaPipe
Tasks reads: the labels travel in a ZIP appended to the file, which every other reader passes over.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Sequence
from typing import Any

import flatbuffers
import numpy as np
from numpy.typing import NDArray

from .tflite_file import read_tflite

SIGNATURE = "serving_default"
LABELS_FILE = "labels.txt"
_ZIP_DATE = (1980, 1, 1, 0, 0, 0)
_AXIS_LABELS = 2  # AssociatedFileType.TENSOR_AXIS_LABELS
_FEATURE, _IMAGE = 1, 2  # ContentProperties
_RGB, _GREY = 1, 2  # ColorSpaceType


class PackedBuilder(flatbuffers.Builder):  # type: ignore[misc]
    """A builder that stores equal vectors once, and model data on 16-byte boundaries.

    A per-channel quantized file repeats a vector of zeros (the zero points, 8 bytes per channel) for every
    tensor: a third of a megabyte in EfficientNet-Lite0. Offsets may be shared, so the file stays valid for all.
    """

    def __init__(self) -> None:
        super().__init__(1 << 20)
        self._seen: dict[tuple[str, bytes], int] = {}

    def CreateNumpyVector(self, x: NDArray[Any]) -> int:  # noqa: N802 - the base class's name
        """Return the offset of a vector equal to `x`, written only if there is none yet."""
        key = (x.dtype.str, x.tobytes())
        if key not in self._seen:
            if x.dtype == np.uint8 and x.size:
                # The schema asks for 16 (`force_align` of Buffer.data); kernels on ARM rely on it.
                self.StartVector(1, x.size, 16)
                self.head: int = self.head - x.size
                self.Bytes[self.head : self.head + x.size] = x.tobytes()
                self._seen[key] = self.EndVector()
            else:
                self._seen[key] = int(super().CreateNumpyVector(x))
        return self._seen[key]


def finish_tflite(data: bytes, outputs: Sequence[str], labels: Sequence[str] = (), name: str = "tlc") -> bytes:
    """Return the converter's file `data` with its one input named `image` and its outputs named `outputs`.

    `labels` belong to the first output.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = read_tflite(data)
    graph = model.subgraphs[0]
    if len(graph.inputs) != 1 or len(graph.outputs) != len(outputs):
        raise ValueError(f"{len(graph.inputs)} inputs and {len(graph.outputs)} outputs, expected 1 and {len(outputs)}")
    graph.tensors[graph.inputs[0]].name = "image"
    for index, output in zip(graph.outputs, outputs, strict=True):
        graph.tensors[index].name = output
    model.signatureDefs = [_signature(schema, graph.inputs[0], zip(outputs, graph.outputs, strict=True))]
    model.description = name
    grey = int(graph.tensors[graph.inputs[0]].shape[-1]) == 1
    packed = _metadata(name, outputs, bool(labels), grey)
    kept: list[Any] = []
    earlier: list[Any] = []
    for entry in model.metadata or []:
        (earlier if entry.name in (b"TFLITE_METADATA", "TFLITE_METADATA") else kept).append(entry)
    for entry in earlier:
        model.buffers[entry.buffer].data = None
    model.metadata = [*kept, _metadata_entry(schema, model, packed)]

    builder = PackedBuilder()
    builder.Finish(model.Pack(builder), b"TFL3")
    return _with_labels(bytes(builder.Output()), labels)


def _signature(schema: Any, source: int, outputs: Any) -> Any:
    def tensor_map(name: str, index: int) -> Any:
        entry = schema.TensorMapT()
        entry.name, entry.tensorIndex = name, int(index)
        return entry

    signature = schema.SignatureDefT()
    signature.signatureKey = SIGNATURE
    signature.subgraphIndex = 0
    signature.inputs = [tensor_map("image", source)]
    # Sorted as TensorFlow writes them; clients go by name.
    signature.outputs = [tensor_map(name, index) for name, index in sorted(outputs)]
    return signature


def _metadata_entry(schema: Any, model: Any, packed: bytes) -> Any:
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(packed, np.uint8)
    model.buffers.append(buffer)
    entry = schema.MetadataT()
    entry.name, entry.buffer = "TFLITE_METADATA", len(model.buffers) - 1
    return entry


def _with_labels(data: bytes, labels: Sequence[str]) -> bytes:
    if not labels:
        return data
    out = io.BytesIO(data)
    with zipfile.ZipFile(out, "a", zipfile.ZIP_STORED) as archive:
        entry = zipfile.ZipInfo(LABELS_FILE, _ZIP_DATE)
        entry.create_system = 3
        archive.writestr(entry, "".join(f"{label}\n" for label in labels))
    return out.getvalue()


def _metadata(name: str, outputs: Sequence[str], labelled: bool, grey: bool) -> bytes:
    b = flatbuffers.Builder(1024)

    def content(kind: int, properties: int) -> int:
        return _table(b, 3, [(0, kind, b.PrependUint8Slot), (1, properties, b.PrependUOffsetTRelativeSlot)])

    def tensor(title: str, properties: int, files: int | None = None) -> int:
        text = b.CreateString(title)
        return _table(
            b,
            7,
            [
                (i, o, b.PrependUOffsetTRelativeSlot)
                for i, o in ((0, text), (3, properties), (6, files))
                if o is not None
            ],
        )

    colours = _table(b, 2, [(0, _GREY if grey else _RGB, b.PrependInt8Slot)])
    image = tensor("image", content(_IMAGE, colours))
    tensors: list[int] = []
    for i, output in enumerate(outputs):
        files = None
        if labelled and i == 0:
            text = b.CreateString(LABELS_FILE)
            file = _table(b, 4, [(0, text, b.PrependUOffsetTRelativeSlot), (2, _AXIS_LABELS, b.PrependInt8Slot)])
            files = _offsets(b, [file])
        tensors.append(tensor(output, content(_FEATURE, _table(b, 0, [])), files=files))
    inputs_vector, outputs_vector = _offsets(b, [image]), _offsets(b, tensors)
    graph = _table(
        b,
        6,
        [
            (2, inputs_vector, b.PrependUOffsetTRelativeSlot),
            (3, outputs_vector, b.PrependUOffsetTRelativeSlot),
        ],
    )
    graphs = _offsets(b, [graph])
    title, parser = b.CreateString(name), b.CreateString("1.0.0")
    root = _table(b, 8, [(i, o, b.PrependUOffsetTRelativeSlot) for i, o in ((0, title), (3, graphs), (7, parser))])
    b.Finish(root, b"M001")
    return bytes(b.Output())


def _table(b: Any, slots: int, fields: Sequence[tuple[int, int, Callable[[int, int, int], None]]]) -> int:
    b.StartObject(slots)
    for slot, value, prepend in fields:
        prepend(slot, value, 0)
    return int(b.EndObject())


def _offsets(b: Any, items: Sequence[int]) -> int:
    b.StartVector(4, len(items), 4)
    for item in reversed(items):
        b.PrependUOffsetTRelative(item)
    return int(b.EndVector())
