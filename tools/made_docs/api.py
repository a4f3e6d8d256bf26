"""The part of docs/python.md that is made from the functions' own signatures and docstrings."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any


def api_part(functions: tuple[Callable[..., Any], ...]) -> str:
    """Return a heading, the signature and the docstring of each function."""
    return "\n\n".join(map(_of, functions))


def _of(function: Callable[..., Any]) -> str:
    parameters = inspect.signature(function).parameters.values()
    shown = [f"**{p.name}" if p.kind is p.VAR_KEYWORD else _parameter(p) for p in parameters]
    first = next((i for i, p in enumerate(parameters) if p.kind is p.KEYWORD_ONLY), None)
    if first is not None:
        shown.insert(first, "*")
    about, _, raises = (inspect.getdoc(function) or "").partition("\nRaises:\n")
    errors = " ".join(line.strip() for line in raises.splitlines())
    return f"### {function.__name__}\n\n`{function.__name__}({', '.join(shown)})`\n\n{about.strip()}\n\nRaises {errors}"


def _parameter(parameter: inspect.Parameter) -> str:
    default = parameter.default
    if default is parameter.empty:
        return parameter.name
    return f"{parameter.name}={getattr(default, '__name__', None) or repr(default)}"
