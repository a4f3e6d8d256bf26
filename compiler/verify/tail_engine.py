"""The tail of a model file, ready to run: what head and neck give for one image's pooled features."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tlc_edge.compiler.records import Floats
from tlc_edge.runtime.engines.open import EngineKind
from tlc_edge.runtime.quiet import quiet

RunTail = Callable[[Floats], tuple[Floats, ...]]
"""From features [F], as the trunk's file gives them, to one vector per output, as the whole file's engine gives it."""


def open_tail_engine(kind: EngineKind, tail: bytes, outputs: Sequence[str]) -> RunTail | None:
    """Load a tail into the engine that the whole file runs in; None where it takes something else than features, or
    the engine does not take it."""
    try:
        return (_open_tflite if kind.format == "tflite" else _open_onnx)(kind, tail, outputs)
    except Exception as e:  # the types of onnxruntime share no base but this
        if isinstance(e, (ValueError, RuntimeError)) or type(e).__module__.startswith("onnxruntime"):
            return None
        raise


def _open_tflite(kind: EngineKind, tail: bytes, outputs: Sequence[str]) -> RunTail | None:
    with quiet():
        interpreter: Any = importlib.import_module(kind.module).Interpreter(model_content=tail, num_threads=1)
        interpreter.allocate_tensors()
    (source,) = interpreter.get_input_details()
    if source["dtype"] not in (np.float32, np.int8):
        return None
    taken, rounds = int(source["index"]), source["dtype"] is np.int8
    scale, zero = source["quantization"]
    found = {str(d["name"]): d for d in interpreter.get_output_details()}
    given = [(int(d["index"]), d["dtype"] is np.int8, *d["quantization"]) for d in map(found.__getitem__, outputs)]

    def run(features: Floats) -> tuple[Floats, ...]:
        # The trunk's last step to float32 undone: each of these numbers is a step of the scale, so none is lost.
        steps = np.rint(features / np.float32(scale)) + zero if rounds else features
        interpreter.set_tensor(taken, steps.astype(np.int8 if rounds else np.float32)[None])
        interpreter.invoke()
        return tuple(_vector(interpreter.get_tensor(index)[0], *said) for index, *said in given)

    return run


def _vector(raw: Any, rounded: bool, scale: float, zero: int) -> Floats:
    return np.asarray((raw.astype(np.float32) - zero) * scale if rounded else raw, np.float32)


def _open_onnx(kind: EngineKind, tail: bytes, outputs: Sequence[str]) -> RunTail:
    with quiet():
        ort: Any = importlib.import_module(kind.module)
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        session: Any = ort.InferenceSession(tail, options, providers=["CPUExecutionProvider"])
    (source,) = session.get_inputs()

    def run(features: Floats) -> tuple[Floats, ...]:
        return tuple(o[0] for o in session.run(list(outputs), {source.name: features[None]}))

    return run
