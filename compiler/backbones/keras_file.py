"""A Keras network in a file: `.keras`, or the HDF5 of Keras 2 and later."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tlc_edge.compiler.options import Asked
from tlc_edge.compiler.records import Backbone, Provenance

from .adopt import adopt
from .own_labels import label_files, labels_beside
from .refuse import refuse

_SUFFIXES = (".keras", ".h5", ".hdf5")


def claims(name: str) -> bool:
    """Return whether there is a file with the name of a Keras network."""
    path = Path(name)
    return path.is_file() and path.suffix.lower() in _SUFFIXES


def check(name: str, asked: Asked) -> None:
    """Refuse what a file brings along.

    Raises:
        UsageError: an option is not for it.
    """
    refuse(name, asked, takes=("pixels",))


def reads(name: str, _asked: Asked) -> list[Path] | None:
    """Return the file, and those with labels beside it."""
    return [Path(name), *label_files(name)]


def load(name: str, asked: Asked) -> Backbone:
    """Load the network.

    Raises:
        BuildError: the file is damaged, holds no network or names code; or the network cannot be used.
    """
    from tlc_edge.compiler.weights.keras_file import load_keras_file

    path = Path(name)
    model, digest = load_keras_file(path)
    found = adopt(path.stem, model, asked, Provenance(path.name, digest, "unknown", "unknown"))
    return replace(found, labels=labels_beside(name))
