"""Device profiles: one TOML file each in this folder, and their loader.

The folder is the registry and a file's name is its id. Every file has the same keys, stands alone and
cites a source for each number in it. A user's own file is loaded by its path.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from tlc_edge.runtime.errors import UsageError, unknown_name

from .fields import Expectation, Fields, shown
from .schemes import all_int8, formats, int8_schemes, names

INPUT_DTYPES = ("uint8", "int8")
OUTPUT_DTYPES = ("float32", "int8")
EXTRAS = ("c-array", "coreml", "web-labels")
"""Files that a bundle can hold beside its models, made from them; no engine of tlc's own runs them."""
ENGINES = (
    *("ai-edge-litert", "tflite-runtime", "onnxruntime"),
    *("mediapipe", "coreml", "litert-js", "onnxruntime-web", "tflite-micro", "edgetpu"),
)
MAX_THREADS = 128
"""The most that the runtime runs a model with: `MAX_THREADS` of `tlc_edge.runtime.engines.open`, which stands above."""

_CITED = ("model.operations",)
"""Besides the numbers, what may have a source."""
_SECTIONS: Mapping[str, tuple[str, ...]] = {
    "model": ("formats", "scheme", "onnx_scheme", "input_dtype", "output_dtype", "operations", "full_int8", "extras"),
    "limits": ("model_bytes", "peak_memory_bytes"),
    "engine": ("preferred", "threads"),
}
_NUMBERS = ("limits.model_bytes", "limits.peak_memory_bytes", "engine.threads")
KEYS = (
    "title",
    "description",
    *(f"{section}.{key}" for section, keys in _SECTIONS.items() for key in keys),
    "expect",
    "notes",
    "sources",
)
"""Every key of a target file, dotted; each file has all of them and no other."""

_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Target:
    """What a device takes, and what it has; sizes in bytes."""

    name: str
    """The file's name without `.toml`."""
    title: str
    description: str
    formats: tuple[str, ...]
    """`tflite`, `onnx`: the files to build, the one to prefer first; never empty."""
    scheme: str
    """Quantization scheme of the TFLite file to start from."""
    onnx_scheme: str
    """The same for the ONNX file."""
    input_dtype: str
    """Of the TFLite file: `uint8`, or `int8` with scheme int8. An ONNX file always takes uint8."""
    output_dtype: str
    """Of the TFLite file: `float32`, or `int8` with scheme int8. An ONNX file always gives float32."""
    operations: tuple[str, ...]
    """The TFLite builtin operations the device can run; empty: all."""
    full_int8: bool
    """Whether no operation of the TFLite file may compute in float32."""
    extras: tuple[str, ...]
    """What else the bundle gets; of `EXTRAS`."""
    model_bytes: int
    """The largest model file; 0: no limit."""
    peak_memory_bytes: int
    """The most memory a process may hold that has the model loaded and answers an image, or TensorFlow Lite Micro's
    arena; 0: no limit."""
    engines: tuple[str, ...]
    """Inference engines by their names on PyPI or npm, the preferred one first."""
    threads: int
    """Inference threads; 0: one per core."""
    expect: tuple[Expectation, ...]
    notes: tuple[str, ...]
    """What someone who uses a bundle on the device must know, a sentence each; they travel with it."""
    sources: Mapping[str, str]
    """Where each number comes from, by its dotted key (`limits.model_bytes`)."""

    @property
    def square_roots(self) -> bool:
        """Whether a model for it may take square roots: a TFLite file does so in float32, by the operation SQRT."""
        return not self.full_int8 and (not self.operations or "SQRT" in self.operations)


def target_names() -> tuple[str, ...]:
    """Return the names of the targets that ship with tlc, sorted."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.toml")))


def all_targets() -> tuple[Target, ...]:
    """Return every target that ships with tlc, by name."""
    return tuple(load_target(name) for name in target_names())


def load_target(name_or_path: str | os.PathLike[str]) -> Target:
    """Load a shipped target by its name, or a file of one's own by its path.

    An argument that ends in `.toml` or contains a path separator is a path; anything else is a name.

    Raises:
        UsageError: no such target or file, or a file that is not a valid target.
    """
    given = os.fspath(name_or_path)
    if given.endswith(".toml") or any(mark in given for mark in (os.sep, os.altsep) if mark):
        path = Path(given)
        return _target(path.stem, _read(path), str(path))
    if given not in target_names():
        error = unknown_name("target", given, target_names())
        raise UsageError(f"{error}; a file of your own is given as ./NAME.toml")
    return _target(given, _read(_FOLDER / f"{given}.toml"), f"{given}.toml")


def with_formats(target: Target, asked: Sequence[str]) -> Target:
    """Return a target of which only the files in some of its formats are built; in the target's order, all if none is.

    Raises:
        UsageError: it has no file in one of them, or what it wants of a file is left out.
    """
    if not asked:
        return target
    for form in asked:
        if form not in formats():
            raise UsageError(f"--formats: {unknown_name('format', form, formats())}")
        if form not in target.formats:
            raise UsageError(f"--formats {form}: target {target.name} takes {' and '.join(target.formats)} files alone")
    chosen = replace(target, formats=tuple(form for form in target.formats if form in asked))
    _check_agreement(chosen, f"--formats {','.join(asked)}: target {target.name}")
    return chosen


def _read(path: Path) -> Mapping[str, object]:
    import tomllib

    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        shipped = ", ".join(target_names())
        raise UsageError(f"{path}: no such target file; give the path of one, or one of {shipped}") from None
    except UnicodeDecodeError as e:
        raise UsageError(f"{path}: not a text file in UTF-8 (byte {e.start}); a target is a TOML file") from None
    except (tomllib.TOMLDecodeError, RecursionError) as e:
        raise UsageError(f"{path}: not valid TOML: {e}") from None
    except (OSError, ValueError) as e:
        raise UsageError(f"{path}: cannot be read ({e})") from None


def _target(name: str, table: Mapping[str, object], where: str) -> Target:
    fields = Fields(_flatten(table, where), where, (*_NUMBERS, *_CITED))
    target = Target(
        name=name,
        title=fields.text("title"),
        description=fields.text("description"),
        formats=fields.names("model.formats", "format", formats(), least=1),
        scheme=fields.name("model.scheme", "scheme", names("tflite")),
        onnx_scheme=fields.name("model.onnx_scheme", "scheme", names("onnx")),
        input_dtype=fields.name("model.input_dtype", "dtype", INPUT_DTYPES),
        output_dtype=fields.name("model.output_dtype", "dtype", OUTPUT_DTYPES),
        operations=fields.names("model.operations", "operation"),
        full_int8=fields.flag("model.full_int8"),
        extras=fields.names("model.extras", "extra", EXTRAS),
        model_bytes=fields.count("limits.model_bytes"),
        peak_memory_bytes=fields.count("limits.peak_memory_bytes"),
        engines=fields.names("engine.preferred", "engine", ENGINES, least=1),
        threads=fields.count("engine.threads", MAX_THREADS),
        expect=fields.expectations(),
        notes=fields.names("notes", "note"),
        sources=fields.sources(),
    )
    for number in _NUMBERS:
        if number not in target.sources:
            raise UsageError(f'{where}: {number} has no source; say where it comes from: [sources] "{number}" = "…"')
    _check_agreement(target, where)
    return target


def _check_agreement(target: Target, where: str) -> None:
    """Refuse keys that are right by themselves and contradict each other."""
    for_tflite = {  # what only a TFLite file can have
        "model.extras has c-array": "c-array" in target.extras,
        "model.input_dtype is int8": target.input_dtype == "int8",
        "model.output_dtype is int8": target.output_dtype == "int8",
        "model.full_int8 is true": target.full_int8,
        "model.operations is not empty": bool(target.operations),
        "engine.preferred begins with tflite-micro": target.engines[0] == "tflite-micro",
    }
    asked = [what for what, is_asked in for_tflite.items() if is_asked]
    if asked and "tflite" not in target.formats:
        raise UsageError(
            f"{where}: {asked[0]}, which is of the TFLite file, and model.formats is {', '.join(target.formats)}; "
            "add tflite to the formats, or change the other"
        )
    int8 = [what for what in asked if "int8" in what]
    if int8 and not all_int8(target.scheme):
        raise UsageError(
            f"{where}: {int8[0]}, and model.scheme is {target.scheme}, which has none of it; "
            f"take scheme {' or '.join(int8_schemes())}, or change the other"
        )


def _flatten(table: Mapping[str, object], where: str) -> dict[str, object]:
    """Return the file's values by dotted key; exactly KEYS."""
    flat: dict[str, object] = {}
    for key, value in table.items():
        if key not in _SECTIONS:
            flat[key] = value
        elif isinstance(value, dict):
            section = cast(dict[str, object], value)
            flat |= {f"{key}.{inner}": content for inner, content in section.items()}
        else:
            raise UsageError(f"{where}: {key} is {shown(value)}; expected a table [{key}]")
    for key in flat:
        if key not in KEYS:
            raise UsageError(f"{where}: {unknown_name('key', key, KEYS)}")
    missing = [key for key in KEYS if key not in flat]
    if missing:
        raise UsageError(f"{where}: missing {', '.join(missing)}; every target file has the same keys")
    return flat
