"""Hold a target's files against what the device has and can: bytes, memory, operations."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tlc_edge.compiler.lower.tflite_content import Content, read_content
from tlc_edge.compiler.lower.tflite_file import operation_names
from tlc_edge.compiler.records import Fused, Lowered
from tlc_edge.runtime.errors import BuildError, UsageError, unknown_name
from tlc_edge.targets import Target
from tlc_edge.targets.schemes import all_int8, int8_schemes

from .peak_memory import MICRO, PeakMemory, measure_arena, measure_process, require_micro
from .suggest import Suggestion, smaller_files, smaller_memory


@dataclass(frozen=True)
class DeviceFit:
    """What one file needs of its device; limits of 0 are none."""

    file: str
    bytes: int
    bytes_limit: int
    memory: PeakMemory | None
    """None where the target has no limit of it, so that it was not measured."""
    memory_limit: int
    operations: tuple[str, ...]
    """Its TFLite operations, sorted; empty for another format."""

    @property
    def arena(self) -> int | None:
        """The arena of TensorFlow Lite Micro in bytes, where it was measured."""
        return self.memory.bytes if self.memory is not None and self.memory.engine == MICRO else None


def check_target(target: Target) -> None:
    """Check, before the work, that a target's limits can be checked after it.

    Raises:
        UsageError: one of its operations is none of TFLite's; names those nearest.
        BuildError: what measures its memory is not installed.
    """
    if needs_micro(target):
        require_micro(target.name)
    known = operation_names().values() if target.operations else ()
    for name in target.operations:
        if name not in known:
            raise UsageError(f"target {target.name}: {unknown_name('operation', name, known)}")


def needs_micro(target: Target) -> bool:
    """Return whether TensorFlow Lite Micro's interpreter must measure a target's memory."""
    return bool(target.peak_memory_bytes) and target.engines[0] == MICRO


def check_limits(target: Target, files: Sequence[Lowered], fused: Fused) -> tuple[DeviceFit, ...]:
    """Return what each of a target's files needs; the first that the device cannot have stops the build.

    Raises:
        BuildError: names the file, the limit, by how much it is broken and what would fit.
    """
    contents = [read_content(file.data) if file.info.format == "tflite" else None for file in files]
    for file, content in zip(files, contents, strict=True):
        if content is not None:
            _check_operations(target, file, content)
    with ThreadPoolExecutor(max(1, len(files))) as pool:  # each waits for a process
        memories = list(pool.map(lambda file: _memory(target, file, fused.labels), files))
    fits: list[DeviceFit] = []
    for file, content, memory in zip(files, contents, memories, strict=True):
        problems = [p for p in (_too_large(target, file, fused), _too_much(target, file, fused, memory)) if p]
        if problems:
            raise BuildError(f"{file.info.file} {'; and it '.join(problems)}")
        operations = tuple(sorted(content.operations)) if content else ()
        fits.append(
            DeviceFit(file.info.file, file.info.bytes, target.model_bytes, memory, target.peak_memory_bytes, operations)
        )
    return tuple(fits)


def _check_operations(target: Target, file: Lowered, content: Content) -> None:
    foreign = {n: c for n, c in sorted(content.operations.items()) if target.operations and n not in target.operations}
    if foreign:
        named = ", ".join(f"{name} ({count})" for name, count in foreign.items())
        raise BuildError(
            f"{file.info.file} has {sum(foreign.values())} operations that {target.name} cannot run: {named}; "
            f"the target's model.operations lists what it can; {_operations_advice(file)}"
        )
    if target.full_int8 and content.floats:
        named = ", ".join(f"{name} ({count})" for name, count in sorted(content.floats.items()))
        raise BuildError(
            f"{file.info.file} does {content.floats.total()} of {content.activations.total()} operations in float32, "
            f"and {target.name} can do none so: {named}; {_operations_advice(file)}"
        )


def _operations_advice(file: Lowered) -> str:
    scheme = "" if all_int8(file.info.scheme) else f"--scheme {' or '.join(int8_schemes())}, "
    return f"what would fit: {scheme}a cut before the first of them (see `tlc layers`), or a backbone of ReLU and ReLU6"


def _memory(target: Target, file: Lowered, labels: tuple[str, ...]) -> PeakMemory | None:
    if not target.peak_memory_bytes:
        return None
    return measure_arena(file) if needs_micro(target) else measure_process(file, labels, target.threads)


def _too_large(target: Target, file: Lowered, fused: Fused) -> str | None:
    over = file.info.bytes - target.model_bytes
    if not target.model_bytes or over <= 0:
        return None
    fitting = smaller_files(file, fused, target.model_bytes, target.full_int8)
    return (
        f"has {file.info.bytes:,} bytes, {over:,} more than the {target.model_bytes:,} of {target.name}: "
        f"{_fitting(fitting, 'a smaller backbone')}"
    )


def _too_much(target: Target, file: Lowered, fused: Fused, peak: PeakMemory | None) -> str | None:
    if peak is None or peak.bytes <= target.peak_memory_bytes:
        return None
    what = "an arena" if peak.engine == MICRO else "a process"
    over = peak.bytes - target.peak_memory_bytes
    fitting = smaller_memory(peak, file, fused, target.peak_memory_bytes, target.full_int8)
    return (
        f"needs {what} of {peak.bytes:,} bytes (measured with {peak.engine}), {over:,} "
        f"more than the {target.peak_memory_bytes:,} of {target.name}: "
        f"{_fitting(fitting, 'a smaller --input-size or backbone')}"
    )


def _fitting(found: Sequence[Suggestion], otherwise: str) -> str:
    if not found:
        return f"nothing near it would fit; try {otherwise}"
    return f"what would fit is {', or '.join(map(str, found))}"
