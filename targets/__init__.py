"""Device profiles: one TOML file each in this folder, and their loader.

The folder is the registry and a file's name is its id. Every file has the same keys, stands alone and
cites a source for each number in it. A user's own file is loaded by its path.
"""

from __future__ import annotations

import math
import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, cast

from tlc.runtime.errors import UsageError, unknown_name

FORMATS = ("tflite", "onnx")
SCHEMES = ("float32", "float16", "dynamic", "int8", "int16x8")
ONNX_SCHEMES = ("float32", "float16", "int8")
DTYPES = ("uint8", "int8", "float32")
ENGINES = ("ai-edge-litert", "tflite-runtime", "onnxruntime")

_SECTIONS: Mapping[str, tuple[str, ...]] = {
    "model": ("formats", "scheme", "onnx_scheme", "input_dtype", "output_dtype", "operations"),
    "limits": ("model_bytes", "peak_memory_bytes"),
    "engine": ("preferred", "threads"),
}
_NUMBERS = ("limits.model_bytes", "limits.peak_memory_bytes", "engine.threads")
KEYS = (
    "title",
    "description",
    *(f"{section}.{key}" for section, keys in _SECTIONS.items() for key in keys),
    "expect",
    "sources",
)
"""Every key of a target file, dotted; each file has all of them and no other."""

_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Expectation:
    """A published figure for the device: for comparison, never a promise."""

    what: str
    """Model, input size, scheme and how it was run."""
    milliseconds: float
    """Time for one image, > 0."""
    source: str


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
    output_dtype: str
    operations: tuple[str, ...]
    """The TFLite builtin operations the device can run; empty: all."""
    model_bytes: int
    """The largest model file; 0: no limit."""
    peak_memory_bytes: int
    """The most memory a process may hold that has the model loaded and answers an image; 0: no limit."""
    engines: tuple[str, ...]
    """Inference engines by their PyPI names, the preferred one first."""
    threads: int
    """Inference threads; 0: one a core."""
    expect: tuple[Expectation, ...]
    sources: Mapping[str, str]
    """Where each number comes from, by its dotted key (`limits.model_bytes`)."""

    def scheme_of(self, model_format: str) -> str:
        """Return the scheme to start from for a file of that format.

        Raises:
            ValueError: the target has no such format.
        """
        if model_format not in self.formats:
            raise ValueError(f"target {self.name} has formats {self.formats}, not {model_format!r}")
        return self.onnx_scheme if model_format == "onnx" else self.scheme


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


def _read(path: Path) -> Mapping[str, object]:
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
    fields = _Fields(_flatten(table, where), where)
    target = Target(
        name=name,
        title=fields.text("title"),
        description=fields.text("description"),
        formats=fields.names("model.formats", "format", FORMATS, least=1),
        scheme=fields.name("model.scheme", "scheme", SCHEMES),
        onnx_scheme=fields.name("model.onnx_scheme", "scheme", ONNX_SCHEMES),
        input_dtype=fields.name("model.input_dtype", "dtype", DTYPES),
        output_dtype=fields.name("model.output_dtype", "dtype", DTYPES),
        operations=fields.names("model.operations", "operation"),
        model_bytes=fields.count("limits.model_bytes"),
        peak_memory_bytes=fields.count("limits.peak_memory_bytes"),
        engines=fields.names("engine.preferred", "engine", ENGINES, least=1),
        threads=fields.count("engine.threads"),
        expect=fields.expectations(),
        sources=fields.sources(),
    )
    for number in _NUMBERS:
        if number not in target.sources:
            raise UsageError(f'{where}: {number} has no source; say where it comes from: [sources] "{number}" = "…"')
    return target


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
            raise UsageError(f"{where}: {key} is {_shown(value)}; expected a table [{key}]")
    for key in flat:
        if key not in KEYS:
            raise UsageError(f"{where}: {unknown_name('key', key, KEYS)}")
    missing = [key for key in KEYS if key not in flat]
    if missing:
        raise UsageError(f"{where}: missing {', '.join(missing)}; every target file has the same keys")
    return flat


@dataclass(frozen=True)
class _Fields:
    """Takes each value out as its type, or refuses it by key, value and what was expected."""

    values: Mapping[str, object]
    where: str

    def text(self, key: str) -> str:
        return self._text(key, self.values[key])

    def name(self, key: str, kind: str, known: Iterable[str]) -> str:
        return self._name(key, self.values[key], kind, known)

    def names(self, key: str, kind: str, known: Iterable[str] = (), least: int = 0) -> tuple[str, ...]:
        """Return a list of names, each once; with `known`, of those only."""
        value = self.values[key]
        if not isinstance(value, list):
            self._refuse(key, value, "a list of text")
        found = tuple(self._name(key, item, kind, known) for item in cast(list[object], value))
        if len(found) < least:
            self._refuse(key, value, f"at least one {kind} of {', '.join(known)}")
        if len(set(found)) < len(found):
            self._refuse(key, value, f"each {kind} once")
        return found

    def count(self, key: str) -> int:
        value = self.values[key]
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            self._refuse(key, value, "a whole number, 0 or more")
        return value

    def expectations(self) -> tuple[Expectation, ...]:
        value = self.values["expect"]
        if not isinstance(value, list):
            self._refuse("expect", value, "a list of tables [[expect]]")
        return tuple(self._expectation(f"expect[{i}]", item) for i, item in enumerate(cast(list[object], value)))

    def sources(self) -> dict[str, str]:
        table = self._table("sources", self.values["sources"])
        for key in table:
            if key not in _NUMBERS:
                raise UsageError(f"{self.where}: sources: {unknown_name('number', key, _NUMBERS)} (keys are quoted)")
        return {key: self._text(f'sources "{key}"', value) for key, value in table.items()}

    def _expectation(self, key: str, value: object) -> Expectation:
        table = self._table(key, value)
        expected = ("what", "milliseconds", "source")
        for inner in table:
            if inner not in expected:
                raise UsageError(f"{self.where}: {key}: {unknown_name('key', inner, expected)}")
        missing = [inner for inner in expected if inner not in table]
        if missing:
            raise UsageError(f"{self.where}: {key}: missing {', '.join(missing)}; a figure has {', '.join(expected)}")
        time = table["milliseconds"]
        if isinstance(time, bool) or not isinstance(time, int | float) or not 0 < time < math.inf:
            self._refuse(f"{key}.milliseconds", time, "a number above 0")
        what, source = (self._text(f"{key}.{inner}", table[inner]) for inner in ("what", "source"))
        return Expectation(what, float(time), source)

    def _table(self, key: str, value: object) -> dict[str, object]:
        if not isinstance(value, dict):
            self._refuse(key, value, "a table")
        return cast(dict[str, object], value)

    def _name(self, key: str, value: object, kind: str, known: Iterable[str]) -> str:
        text = self._text(key, value)
        if known and text not in known:
            raise UsageError(f"{self.where}: {key}: {unknown_name(kind, text, known)}")
        return text

    def _text(self, key: str, value: object) -> str:
        if not isinstance(value, str) or not value.strip():
            self._refuse(key, value, "text, not empty")
        return value

    def _refuse(self, key: str, value: object, expected: str) -> NoReturn:
        raise UsageError(f"{self.where}: {key} is {_shown(value)}; expected {expected}")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
