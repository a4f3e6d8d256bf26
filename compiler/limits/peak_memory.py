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
from dataclasses import dataclass

from tlc_edge.compiler.records import Lowered
from tlc_edge.runtime.apart import last_line, run_apart
from tlc_edge.runtime.engines.open import KINDS, outputs_for
from tlc_edge.runtime.errors import BuildError
from tlc_edge.runtime.install import pip_line

MICRO = "tflite-micro"
_LARGEST_ARENA = 1 << 28
_ARENA = "tlc_edge.compiler.limits.run_in_arena"
_PROCESS = "tlc_edge.runtime.doctor.answer_once"


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
    ran = run_apart(_ARENA, str(_LARGEST_ARENA), data=file.data)
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
    while run_apart(_ARENA, str(arena), data=file.data).returncode:
        arena += step
    return PeakMemory(arena, used.get("head", 0), MICRO)


def measure_process(file: Lowered, labels: tuple[str, ...], threads: int) -> PeakMemory:
    """Return the most memory of a process that loads a model file into an engine here and answers an image.

    Raises:
        BuildError: it cannot be measured here.
    """
    kind = next(k for k in KINDS if k.format == file.info.format and k.installed)
    ran = run_apart(_PROCESS, kind.name, str(threads), *outputs_for(labels), data=file.data)
    try:
        found: dict[str, int] = json.loads(ran.stdout)
        return PeakMemory(found["peak"], found["peak"] - found["before"], kind.name)
    except (ValueError, KeyError, TypeError):
        reason = last_line(ran.stderr, "the system does not tell")
        raise BuildError(
            f"{file.info.file}: its memory cannot be measured on this machine ({reason}); give a target file of "
            "your own with peak_memory_bytes = 0"
        ) from None


def _complaint(said: str) -> str:
    """Return why the interpreter refused: what it wrote last, before Python's traceback."""
    before, _, traceback = said.rpartition("Traceback (most recent call last):")
    lines = [line.strip() for line in before.splitlines() if line.strip()]
    missing = [line for line in lines if line.startswith("Didn't find op")]
    return (missing or lines[-1:] or traceback.strip().splitlines()[-1:] or ["it gives no reason"])[-1]
