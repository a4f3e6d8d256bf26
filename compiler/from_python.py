"""The compiler from Python, as its commands are: `tlc_edge.build`, `sweep`, `layers` and `verify`.

Paths may be strings or path objects, data and targets one or several. What is not given is as the command has it.
Without a `progress` of your own, a notebook shows it below the cell.
"""

from __future__ import annotations

import contextlib
import difflib
import os
from collections.abc import Generator, Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, cast

from tlc_edge.compiler.backbones.list_layers import LayerInfo, list_layers
from tlc_edge.compiler.data.bundle_name import bundle_name
from tlc_edge.compiler.data.records import Origin
from tlc_edge.compiler.sweep.sweep import Sweep, SweepOptions
from tlc_edge.compiler.sweep.sweep import sweep as run_sweep
from tlc_edge.compiler.verify.demands import Demands
from tlc_edge.compiler.verify.verify import Verification
from tlc_edge.compiler.verify.verify import verify as run_verify
from tlc_edge.runtime.bundle.bundle import Bundle
from tlc_edge.runtime.errors import UsageError
from tlc_edge.runtime.signing.secret_key import read_secret

from .notebook import NotebookLines, in_notebook
from .options import DEFAULT, Asked, FineTune, Options
from .pipeline import build as run_build
from .result import Result
from .steps import Progress, no_progress

OneOrMore = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]


def build(
    data: OneOrMore,
    target: OneOrMore = "rpi",
    output: str | os.PathLike[str] | None = None,
    *,
    sign: str | os.PathLike[str] | None = None,
    password: str | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Result:
    """Build a bundle for each target, as `tlc build` does; further options are those of `tlc_edge.compiler.Options`.

    `sign` is the file of a secret key, and `password` that of the key, if it has one.

    Raises:
        TlcError: as `tlc build`; a UsageError for an option that there is not, or whose value is of another type.
    """
    sources, targets = _several("data", data), _several("target", target)
    given = _checked(Options, options)
    place = Path(_path("output", output) if output is not None else bundle_name(sources[0]))
    key = (
        None if sign is None else read_secret(Path(_path("sign", sign)), None if password is None else lambda: password)
    )
    asked = Options(data=sources[0], more=sources[1:], targets=targets, output=place, sign=key, **given)
    with _shown(progress) as shown:
        return run_build(asked, shown)


def sweep(
    data: OneOrMore,
    target: str = "rpi",
    backbones: OneOrMore = DEFAULT,
    *,
    progress: Progress | None = None,
    **options: Any,
) -> Sweep:
    """Compare backbones and cuts on one data set, as `tlc sweep` does; further options are those of `SweepOptions`.

    Raises:
        TlcError: as `tlc sweep`, and as `build`.
    """
    sources, given = _several("data", data), _checked(SweepOptions, options)
    names = _several("backbones", backbones)
    asked = SweepOptions(data=sources[0], more=sources[1:], target=_path("target", target), backbones=names, **given)
    with _shown(progress) as shown:
        return run_sweep(asked, shown)


def layers(backbone: str | os.PathLike[str] = DEFAULT, asked: Asked | None = None) -> list[LayerInfo]:
    """Return a backbone's layers, as `tlc layers` lists them.

    Raises:
        TlcError: there is no such backbone, or it cannot be loaded.
    """
    _check_type("asked", asked, "Asked | None")
    return list_layers(_path("backbone", backbone), asked)[1]


def verify(
    bundle: str | os.PathLike[str] | Bundle,
    data: OneOrMore,
    engine: str | None = None,
    *,
    demands: Demands | None = None,
    layers: bool = False,
    limit: int | None = None,
    progress: Progress | None = None,
) -> Verification:
    """Measure a bundle's models on labelled images, as `tlc verify` does.

    Raises:
        TlcError: as `tlc verify`; what does not reach `demands` is in the result's `missed`.
    """
    sources = _several("data", data)
    _check_type("engine", engine, "str | None")
    _check_type("limit", limit, "int | None")
    _check_type("demands", demands, "Demands | None")
    opened = bundle if isinstance(bundle, Bundle) else Bundle.open(_path("bundle", bundle))
    origin = Origin(sources[0], more=sources[1:])
    with _shown(progress) as shown:
        return run_verify(
            opened, origin, engine, layers=layers, limit=limit, demands=demands or Demands(), progress=shown
        )


@contextlib.contextmanager
def _shown(progress: Progress | None) -> Generator[Progress]:
    """Give the progress that was asked for; without one, a notebook shows it and nothing else does.

    Raises:
        UsageError: it cannot be called.
    """
    if progress is not None:
        if not callable(progress):
            raise UsageError(f"progress is {progress!r}, expected what can be called with (step, done, total)")
        yield progress
    elif in_notebook():
        lines = NotebookLines()
        try:
            yield lines
        finally:
            lines.finish()
    else:
        yield no_progress


def _path(name: str, value: Any) -> str:
    """Return a string or path as a string.

    Raises:
        UsageError: it is neither.
    """
    if not isinstance(value, str | os.PathLike):
        raise UsageError(f"{name} is {value!r}, expected a string or a path")
    return str(os.fspath(cast("str", value)))


def _several(name: str, given: OneOrMore) -> tuple[str, ...]:
    """Return one or several names as strings.

    Raises:
        UsageError: there is none, or something else among them.
    """
    if not isinstance(given, str | os.PathLike | Iterable):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UsageError(f"{name} is {given!r}, expected a string or a path, or several")
    values = [given] if isinstance(given, str | os.PathLike) else list(given)
    if not values:
        raise UsageError(f"{name} is empty; give at least one")
    for value in values:
        if not isinstance(value, str | os.PathLike):  # pyright: ignore[reportUnnecessaryIsInstance] - not all is typed
            raise UsageError(f"{name} holds {value!r}, expected a string or a path")
    return tuple(os.fspath(value) for value in values)


def _checked(kind: type[Options] | type[SweepOptions], options: dict[str, Any]) -> dict[str, Any]:
    """Return options as the library takes them: paths as strings, lists as tuples.

    Raises:
        UsageError: there is no such option, or its value is of another type than its default's.
    """
    known = {field.name: field for field in fields(kind)}
    found: dict[str, Any] = {}
    for name, value in options.items():
        if name not in known or name in ("data", "more", "targets", "target", "output", "backbones"):
            near = difflib.get_close_matches(name, known, 1)
            raise UsageError(f"no option {name!r}" + (f"; did you mean {near[0]}?" if near else ""))
        plain = os.fspath(value) if isinstance(value, os.PathLike) else value
        plain = tuple(plain) if isinstance(plain, list) else plain
        if name == "fine_tune" and isinstance(plain, str | int) and not isinstance(plain, bool):
            plain = FineTune(str(plain))
        _check_type(name, plain, str(known[name].type))
        found[name] = plain
    return found


def _check_type(name: str, value: Any, text: str) -> None:
    """Refuse a value that is of another type than an annotation names.

    Raises:
        UsageError: it is.
    """
    if not _fits(value, text):
        raise UsageError(f"{name} is {value!r}, expected {text.replace(' | None', '')}")


_SIMPLE: dict[str, tuple[type, ...]] = {"str": (str,), "int": (int,), "float": (int, float), "bool": (bool,)}


def _fits(value: Any, text: str) -> bool:
    """Whether a value is of the type that an annotation names."""
    kinds = text.split(" | ")
    if value is None:
        return "None" in kinds
    simple = [kind for kind in kinds if kind in _SIMPLE]
    if not simple:
        several = isinstance(value, Sequence) and not isinstance(value, str) and all(isinstance(v, str) for v in value)
        return several if text.startswith("tuple[str") else type(value).__name__ in kinds
    if isinstance(value, bool):
        return "bool" in simple
    return any(isinstance(value, _SIMPLE[kind]) for kind in simple)
