"""A TFLite file as a C array with its header, for firmware that has no file system."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tlc_edge.compiler.lower.tflite_file import read_tflite, tensor_name

HEADER, SOURCE = "model_data.h", "model_data.c"
_ALIGNMENT = 16
_A_LINE = 12


@dataclass(frozen=True)
class _End:
    """The model's input or one of its outputs."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float
    zero_point: int


def c_array(model: bytes, labels: Sequence[str], arena: int | None) -> dict[str, bytes]:
    """Return `model_data.h` and `model_data.c`, C99 and C++11, for a TFLite file.

    The array is aligned to 16 bytes, as the file's own buffers are. The header has what firmware must know to
    use it: the arena's size in bytes (None: it was not measured), labels, and scale and zero point of each end.
    """
    graph = read_tflite(model).subgraphs[0]
    source, *outputs = _ends(graph)
    return {
        HEADER: _header(len(model), source, outputs, len(labels), arena).encode(),
        SOURCE: _source(model, labels).encode(),
    }


def _header(length: int, source: _End, outputs: Sequence[_End], labels: int, arena: int | None) -> str:
    size = "" if arena is None else f"#define MODEL_ARENA_SIZE {arena}\n"
    said = (
        "/* The arena was not measured: ask MicroInterpreter::arena_used_bytes(). */\n"
        if arena is None
        else "/* Bytes of arena that TensorFlow Lite Micro's interpreter used on a 64-bit machine; less with 32-bit\n"
        "   pointers, more where optimized kernels want buffers of their own. */\n"
    )
    lines = [_input_lines(source), *(_output_lines(output) for output in outputs)]
    return (
        "/* A model for TensorFlow Lite Micro, made by tlc. */\n"
        "#ifndef MODEL_DATA_H_\n#define MODEL_DATA_H_\n\n"
        f"#define MODEL_DATA_LENGTH {length}\n#define MODEL_DATA_ALIGNMENT {_ALIGNMENT}\n\n{said}{size}\n"
        f"{''.join(lines)}\n#define MODEL_LABELS {labels}\n\n"
        '#ifdef __cplusplus\nextern "C" {\n#endif\n\n'
        "extern const unsigned char model_data[MODEL_DATA_LENGTH];\n"
        + ("extern const char *const model_labels[MODEL_LABELS]; /* UTF-8 */\n" if labels else "")
        + "\n#ifdef __cplusplus\n}\n#endif\n\n#endif /* MODEL_DATA_H_ */\n"
    )


def _input_lines(end: _End) -> str:
    _, height, width, channels = end.shape
    note = "its value is the pixel, 0 to 255"
    if end.dtype == "int8":
        note = "its value is the pixel, 0 to 255, minus 128"
    return (
        f"/* Input {end.name}: {end.dtype} [1, {height}, {width}, {channels}]; {note}. */\n"
        f"#define MODEL_INPUT_HEIGHT {height}\n#define MODEL_INPUT_WIDTH {width}\n"
        f"#define MODEL_INPUT_CHANNELS {channels}\n" + _quantization("INPUT", end)
    )


def _output_lines(end: _End) -> str:
    name = end.name.upper()
    says = "value = scale * (output - zero point)" if end.dtype == "int8" else "the value itself"
    return (
        f"/* Output {end.name}: {end.dtype} [1, {end.shape[-1]}]; {says}. */\n"
        f"#define MODEL_{name}_WIDTH {end.shape[-1]}\n" + _quantization(name, end)
    )


def _quantization(name: str, end: _End) -> str:
    if end.dtype == "float32":
        return "\n"
    # Nine digits give a float32 back exactly.
    return f"#define MODEL_{name}_SCALE {end.scale:.9e}f\n#define MODEL_{name}_ZERO_POINT ({end.zero_point})\n\n"


def _source(model: bytes, labels: Sequence[str]) -> str:
    rows = (model[i : i + _A_LINE] for i in range(0, len(model), _A_LINE))
    data = "\n".join("  " + " ".join(f"0x{byte:02x}," for byte in row) for row in rows)
    names = ""
    if labels:
        quoted = "".join(f"  {_quoted(label)},\n" for label in labels)
        names = f"\nconst char *const model_labels[MODEL_LABELS] = {{\n{quoted}}};\n"
    return (
        f'#include "{HEADER}"\n\n'
        "#if defined(__cplusplus) || (defined(__STDC_VERSION__) && __STDC_VERSION__ >= 202311L)\n"
        "#define MODEL_ALIGNED alignas(MODEL_DATA_ALIGNMENT)\n"
        "#elif defined(__STDC_VERSION__) && __STDC_VERSION__ >= 201112L\n"
        "#define MODEL_ALIGNED _Alignas(MODEL_DATA_ALIGNMENT)\n"
        "#else\n"
        "#define MODEL_ALIGNED __attribute__((aligned(MODEL_DATA_ALIGNMENT)))\n"
        "#endif\n\n"
        f"MODEL_ALIGNED const unsigned char model_data[MODEL_DATA_LENGTH] = {{\n{data}\n}};\n{names}"
    )


def _quoted(label: str) -> str:
    """Return a label as a C string literal: what is not plain ASCII as octal, which ends after three digits."""
    plain = "".join(chr(b) if 32 <= b < 127 and chr(b) not in '"\\?' else f"\\{b:03o}" for b in label.encode("utf-8"))
    return f'"{plain}"'


def _ends(graph: Any) -> list[_End]:
    """Return the input and the outputs."""
    types = {0: "float32", 3: "uint8", 9: "int8"}
    found: list[_End] = []
    for index in (*graph.inputs, *graph.outputs):
        tensor = graph.tensors[int(index)]
        given = tensor.quantization
        scale, zero_point = 0.0, 0
        if given is not None and given.scale is not None and np.size(given.scale):
            scale, zero_point = float(given.scale[0]), int(given.zeroPoint[0])
        shape = tuple(int(n) for n in tensor.shape)
        found.append(_End(tensor_name(tensor), shape, types[int(tensor.type)], scale, zero_point))
    return found
