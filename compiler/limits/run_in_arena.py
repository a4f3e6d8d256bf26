"""Run a TFLite file in TensorFlow Lite Micro: `python -P -m tlc_edge.compiler.limits.run_in_arena BYTES < FILE`.

In an arena that is too small the interpreter may crash: each is tried in a process of its own. What it allocated goes
to standard error, in its own words.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

import numpy as np


def run_in_arena(data: bytes, size: int) -> None:
    """Run a file once, on zeros, in an arena of `size` bytes, and print what was allocated."""
    # Built for one system only; `require_micro` has looked for it.
    micro: Any = importlib.import_module("tflite_micro.python.tflite_micro")
    interpreter = micro.runtime.Interpreter.from_bytes(data, arena_size=size)
    details = interpreter.get_input_details(0)
    interpreter.set_input(np.zeros(details["shape"], details["dtype"]), 0)
    interpreter.invoke()
    interpreter.print_allocations()


if __name__ == "__main__":
    run_in_arena(sys.stdin.buffer.read(), int(sys.argv[1]))
