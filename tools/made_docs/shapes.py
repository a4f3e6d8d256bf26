"""docs/json.md from the JSON Schemas of `--json` in cli/schemas/."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .markdown import code, table

_ABOUT = """# What --json prints

Every command takes `--json` and then prints one JSON document on stdout; what is said to people goes to stderr. The
keys below are a promise: more may come, these stay. Each shape is a [JSON Schema](https://json-schema.org) in
`cli/schemas/`, in the installed package `tlc_edge/cli/schemas/`; a test holds what the commands print against them.

In the tables `[]` stands for each element of a list, `*` for each key of an object whose keys are names. *May be
missing* is said of keys that are not always there.
"""


def schemas(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the schemas of a folder by their files' names without `.json`, sorted."""
    return {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("*.json"))}


def json_page(folder: Path) -> str:
    """Return docs/json.md."""
    return _ABOUT + "".join(_section(schema) for schema in schemas(folder).values())


def _section(schema: dict[str, Any]) -> str:
    name = schema["title"].removesuffix(" --json")
    about = f"{schema['description']}\n\n" if "description" in schema else ""
    return f"\n## {name}\n\n{about}" + table(("key", "type", ""), _rows(schema, ""))


def _rows(schema: dict[str, Any], before: str) -> Iterator[tuple[str, str, str]]:
    for key, value in schema.get("properties", {}).items():
        optional = key not in schema.get("required", ())
        yield from _row(f"{before}{key}", value, optional)


def _row(path: str, schema: dict[str, Any], optional: bool) -> Iterator[tuple[str, str, str]]:
    text = schema.get("description", "") + (" *May be missing.*" if optional else "")
    yield code(path), _type(schema), text.strip()
    inner, mark = schema, ""
    while True:  # down through lists and maps to the object whose keys have rows of their own
        if "items" in inner:
            inner, mark = inner["items"], f"{mark}[]"
        elif isinstance(inner.get("additionalProperties"), dict):
            inner, mark = inner["additionalProperties"], f"{mark}.*"
        else:
            break
    yield from _rows(inner, f"{path}{mark}.")


def _type(schema: dict[str, Any]) -> str:
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    return " or ".join(_kind(kind, schema) for kind in kinds)


def _kind(kind: str, schema: dict[str, Any]) -> str:
    if kind == "array":
        return f"list of {schema['minItems']} {_many(schema)}" if "minItems" in schema else f"list of {_many(schema)}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {_plural(_type(schema['additionalProperties']))}"
    if "enum" in schema and kind != "null":
        return ", ".join(f'`"{value}"`' for value in schema["enum"] if value is not None)
    return kind


def _many(schema: dict[str, Any]) -> str:
    return _plural(_type(schema["items"]))


def _plural(kind: str) -> str:
    return kind.replace("list of", "lists of", 1) if kind.startswith("list") else f"{kind}s"
