"""Answer one image: `python -P -m tlc_edge.runtime.doctor.answer_once ENGINE THREADS OUTPUT… < MODEL`.

Prints the memory that the process held with the engine imported, and the most that it held, as a JSON object.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Sequence

import numpy as np

from tlc_edge.runtime.engines.open import KINDS, open_model

from .memory import peak, resident


def answer_once(model: bytes, engine: str, threads: int, outputs: Sequence[str]) -> dict[str, int | None]:
    """Load a model into an engine and run it once, on zeros; return `before` and `peak` in bytes."""
    (kind,) = (k for k in KINDS if k.name == engine)
    importlib.import_module(kind.module)
    before = resident()
    opened = open_model(kind, model, threads, outputs)
    opened.run(np.zeros(opened.shape, np.uint8))
    return {"before": before, "peak": peak()}


if __name__ == "__main__":
    name, count, *wanted = sys.argv[1:]
    print(json.dumps(answer_once(sys.stdin.buffer.read(), name, int(count), wanted)))
