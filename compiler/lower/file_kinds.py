"""Which model files a target gets, and what they differ in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tlc_edge.runtime.errors import UsageError
from tlc_edge.targets import Target
from tlc_edge.targets.schemes import all_int8, int8_schemes, names

TrunkKind = tuple[str, str]
"""Format and scheme: what a lowered trunk is made for."""


@dataclass(frozen=True, order=True)
class FileKind:
    """What decides a model file, for a given trunk, head and neck; targets that agree in it share the file."""

    format: str
    scheme: str
    input_dtype: str = "uint8"
    output_dtype: str = "float32"

    @property
    def trunk(self) -> TrunkKind:
        """The trunk it is made from: what a file takes and gives is a matter of its two ends."""
        return self.format, self.scheme


def file_kinds(
    target: Target, scheme: str | None = None, onnx_scheme: str | None = None, onnx_only: bool = False
) -> tuple[FileKind, ...]:
    """Return the kind of each model file of a target, the one that its device prefers first.

    `scheme` replaces the target's own for the TFLite file, `onnx_scheme` for the ONNX file. With `onnx_only` no TFLite
    file can be made, and `scheme` is that of the ONNX file.

    Raises:
        UsageError: the target takes or wants int8 at the ends, or int8 all through, and the scheme is another; or it
            takes TFLite files alone, and none can be made.
    """
    if onnx_only:
        return (_onnx_alone(target, onnx_scheme or scheme),)
    tflite = FileKind("tflite", scheme or target.scheme, target.input_dtype, target.output_dtype)
    kinds = {"tflite": tflite, "onnx": FileKind("onnx", onnx_scheme or target.onnx_scheme)}
    if not all_int8(tflite.scheme) and "tflite" in target.formats:
        ends = [
            f"{end} int8"
            for end, dtype in (("input", target.input_dtype), ("outputs", target.output_dtype))
            if dtype == "int8"
        ]
        if ends or target.full_int8:
            what = " and ".join(ends) if ends else "int8 all through"
            raise UsageError(
                f"target {target.name} wants {what}, which scheme {tflite.scheme} does not have; "
                f"leave out --scheme, or take {' or '.join(int8_schemes())}"
            )
    return tuple(kinds[form] for form in target.formats)


def _onnx_alone(target: Target, scheme: str | None) -> FileKind:
    if "onnx" not in target.formats:
        raise UsageError(
            f"target {target.name} takes TFLite files, and of an ONNX network tlc makes ONNX files only; take --target "
            "rpi, jetson, desktop or web, or give the network as a SavedModel or a Keras file (docs/onnx.md says how)"
        )
    if scheme is not None and scheme not in names("onnx"):
        raise UsageError(
            f"--scheme {scheme}: of an ONNX network tlc makes ONNX files, whose schemes are {', '.join(names('onnx'))}"
        )
    return FileKind("onnx", scheme or target.onnx_scheme)


def trunk_kinds(kinds: Iterable[FileKind]) -> tuple[TrunkKind, ...]:
    """Return the trunks that files are made from, each once, in order."""
    return tuple(dict.fromkeys(kind.trunk for kind in kinds))
