"""How much memory a model file needs while it answers, measured in a process of its own.

For a microcontroller that is TensorFlow Lite Micro's arena, which its interpreter tells to the byte and alike on every
run. For a computer it is what a process holds that has the runtime, the engine and the model loaded; that varies by
some per cent from run to run and from processor to processor, so it is compared with a limit and shown, but is no part
of a bundle.
"""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from dataclasses import dataclass

from tlc_edge.compiler.records import Lowered
from tlc_edge.runtime.engines.open import KINDS, outputs_for
from tlc_edge.runtime.errors import BuildError
from tlc_edge.runtime.install import pip_line

MICRO = "tflite-micro"
_LARGEST_ARENA = 1 << 28


@dataclass(frozen=True)
class PeakMemory:
    """The most that was in use, in bytes."""

    bytes: int
    activations: int
    """The part of it that holds what flows through the network: it shrinks with the input's area."""
    engine: str
    """What it was measured with."""


def require_micro(target: str) -> None:
    """Check that an arena can be measured.

    Raises:
        BuildError: the tflite-micro package is not installed; says how to get it, and how to do without.
    """
    if importlib.util.find_spec("tflite_micro") is None:
        raise BuildError(
            f"target {target} has a limit of memory, which the package {MICRO} measures, and it is not installed; run: "
            f"{pip_line('mcu')} (Linux on x86-64), or give a target file of your own with "
            "peak_memory_bytes = 0"
        )


def measure_arena(file: Lowered) -> PeakMemory:
    """Return the arena that TensorFlow Lite Micro's interpreter uses for a TFLite file; it was run in just that.

    Raises:
        BuildError: it does not run the file; says why, in the interpreter's words.
    """
    ran = _run(_ARENA, file.data, str(_LARGEST_ARENA))
    said = ran.stderr.decode(errors="replace")
    used = {part: int(count) for part, count in re.findall(r"Arena allocation (total|head) (\d+) bytes", said)}
    if ran.returncode or "total" not in used:
        reason = _complaint(said)
        raise BuildError(
            f"{file.info.file}: TensorFlow Lite Micro cannot run it ({reason}); choose another backbone or an earlier "
            "--shave"
        )

    # What it says it used is enough, but for tiny networks, which need more for a moment while they are set up.
    arena = used["total"]
    step = max(arena // 256 * 16, 16)  # a sixteenth of it
    while _run(_ARENA, file.data, str(arena)).returncode:
        arena += step
    return PeakMemory(arena, used.get("head", 0), MICRO)


def measure_process(file: Lowered, labels: tuple[str, ...], threads: int) -> PeakMemory:
    """Return the most memory of a process that loads a model file into an engine here and answers an image.

    Raises:
        BuildError: it cannot be measured here.
    """
    kind = next(k for k in KINDS if k.format == file.info.format and k.installed)
    ran = _run(_PROCESS, file.data, kind.name, str(threads), *outputs_for(labels))
    try:
        found: dict[str, int] = json.loads(ran.stdout)
        return PeakMemory(found["peak"], found["peak"] - found["before"], kind.name)
    except (ValueError, KeyError, TypeError):
        lines = ran.stderr.decode(errors="replace").strip().splitlines() or ["the system does not tell"]
        raise BuildError(
            f"{file.info.file}: its memory cannot be measured on this machine ({lines[-1]}); give a target file of "
            "your own with peak_memory_bytes = 0"
        ) from None


def _complaint(said: str) -> str:
    """Return why the interpreter refused: what it wrote last, before Python's traceback."""
    before, _, traceback = said.rpartition("Traceback (most recent call last):")
    lines = [line.strip() for line in before.splitlines() if line.strip()]
    missing = [line for line in lines if line.startswith("Didn't find op")]
    return (missing or lines[-1:] or traceback.strip().splitlines()[-1:] or ["it gives no reason"])[-1]


def _run(script: str, data: bytes, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run a script in a fresh interpreter; a crash of what it loads is then only its own."""
    return subprocess.run([sys.executable, "-c", script, *arguments], input=data, capture_output=True, check=False)


# In an arena that is too small the interpreter may crash: each is tried in a process of its own.
_ARENA = """
import sys
import numpy as np
from tflite_micro.python.tflite_micro import runtime

interpreter = runtime.Interpreter.from_bytes(sys.stdin.buffer.read(), arena_size=int(sys.argv[1]))
details = interpreter.get_input_details(0)
interpreter.set_input(np.zeros(details["shape"], details["dtype"]), 0)
interpreter.invoke()
interpreter.print_allocations()
"""

_PROCESS = """
import json, sys
import numpy as np
from tlc_edge.runtime.engines.open import KINDS, open_model
from tlc_edge.runtime.doctor.memory import peak, resident

name, threads, *outputs = sys.argv[1:]
data = sys.stdin.buffer.read()
kind = next(k for k in KINDS if k.name == name)
__import__(kind.module)
before = resident()
engine = open_model(kind, data, int(threads), outputs)
engine.run(np.zeros(engine.shape, np.uint8))
print(json.dumps({"before": before, "peak": peak()}))
"""
