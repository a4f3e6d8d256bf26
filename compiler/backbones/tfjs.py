"""A TensorFlow.js Layers model: its `model.json`, or the folder that holds one."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

from tlc_edge.compiler.options import Asked
from tlc_edge.compiler.records import Backbone, Provenance

from .adopt import adopt
from .own_labels import labels_beside
from .refuse import refuse

FILE = "model.json"
_MOST_FILES = 1000


def claims(name: str) -> bool:
    """Return whether a file or folder looks like a TensorFlow.js model."""
    path = Path(name)
    return (path / FILE).is_file() if path.is_dir() else path.is_file() and path.suffix.lower() == ".json"


def check(name: str, asked: Asked) -> None:
    """Refuse what a file brings along.

    Raises:
        UsageError: an option is not for it.
    """
    refuse(name, asked, takes=("pixels",))


def reads(name: str, _asked: Asked) -> list[Path] | None:
    """Return all files of its folder: those of the weights are named inside `model.json`."""
    folder = Path(name) if Path(name).is_dir() else Path(name).parent
    # No more are looked at than it may have: it may lie in a home folder.
    found = sorted(islice((path for path in folder.rglob("*") if not path.is_dir()), _MOST_FILES + 1))
    return found if len(found) <= _MOST_FILES and all(path.is_file() for path in found) else None


def load(name: str, asked: Asked) -> Backbone:
    """Load the network.

    Raises:
        BuildError: it is no Layers model, carries code, is damaged, or cannot be used.
    """
    from tlc_edge.compiler.weights.tfjs import load_tfjs

    path = Path(name) / FILE if Path(name).is_dir() else Path(name)
    model, digest = load_tfjs(path)
    # A bundle bears the file's own name: where it lay on this machine is nobody's business.
    short = path.resolve().parent.name if path.name == FILE else path.stem
    found = adopt(short, model, asked, Provenance(path.name, digest, "unknown", "unknown"))
    return replace(found, labels=labels_beside(str(path)))
