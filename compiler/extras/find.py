"""What else a target's bundle gets beside its models, made from them."""

from __future__ import annotations

from collections.abc import Sequence

from tlc_edge.compiler.limits.check import DeviceFit
from tlc_edge.compiler.records import Fused, Lowered
from tlc_edge.targets import Target

from .c_array import c_array
from .core_ml import core_ml_package, require_core_ml
from .web_labels import web_labels

NOTES = "notes.txt"


def require_extras(target: Target) -> None:
    """Check, before the work, that what makes a target's extras is installed.

    Raises:
        BuildError: it is not; says how to get it, and how to do without.
    """
    if "coreml" in target.extras:
        require_core_ml(target.name)


def extra_files(target: Target, fused: Fused, files: Sequence[Lowered], fits: Sequence[DeviceFit]) -> dict[str, bytes]:
    """Return them by name; `files` and `fits` are those of the target, in the same order.

    Raises:
        BuildError: the Core ML converter refuses the network.
    """
    made: dict[str, bytes] = {}
    if target.notes:
        made[NOTES] = "".join(f"{note}\n" for note in target.notes).encode()
    if "c-array" in target.extras:
        for file, fit in zip(files, fits, strict=True):
            if file.info.format == "tflite":
                made |= c_array(file.data, fused.labels, fit.arena)
    if "coreml" in target.extras:
        made |= core_ml_package(fused)
    if "web-labels" in target.extras:
        made |= web_labels(fused, files)
    return made
