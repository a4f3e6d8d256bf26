"""Weights alone, from a file that Keras wrote, into a network that is there already."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tlc_edge.runtime.errors import BuildError, first_line
from tlc_edge.runtime.quiet import quiet

from .by_name import assign_by_name
from .derived import derive_state
from .keras_file import load_keras_file
from .keras_zip import is_of_keras_2, plain_weights, read_weights
from .read_confined import read_content

FORMS = "a .h5, .weights.h5 or .keras file"


def is_weight_file(name: str) -> bool:
    """Return whether a file's name is one that Keras gives to weights or whole networks."""
    return name.lower().endswith((".h5", ".hdf5", ".keras"))


def load_weights(model: Any, path: Path, *, more: bool = False) -> None:
    """Set all variables of `model`, a Keras model, from a file; of a whole network only the weights are read.

    `more` says that `model` is known to be the first part of what the file may have weights for.

    Raises:
        BuildError: the file is missing, damaged, holds anything but plain arrays, or is of another network.
    """
    if zipfile.is_zipfile(path):
        content = read_weights(path)
        if is_of_keras_2(path):
            # Its arrays are numbered by the layers of the network that is in the file; so that is made, and taken from.
            assign_from_network(model, load_keras_file(path)[0], str(path), more=more)
            return
    else:
        content = read_content(path)
        # Keras 2 wrote its own format under any name; Keras 3 names what it writes so, and its layers by their kind.
        if content.ordered or not path.name.endswith(".weights.h5"):
            assign_by_name(model, content.arrays, str(path), ordered=content.ordered)
            return
    count, needed = sum(map(_is_weight, content.arrays)), len(model.weights)
    if count > needed and not more:
        # Keras would take the first layers of each kind, whichever these are.
        raise BuildError(
            f"{path}: has {count} arrays, the network needs {needed}, and Keras 3 names them by the kind and number of "
            "their layers alone; make the whole network that they are of, and cut it with --shave"
        )
    try:
        with plain_weights(content.arrays) as plain, quiet():
            model.load_weights(plain)
    except Exception as e:  # Keras raises whatever a file of another network makes it stumble on
        raise BuildError(f"{path}: not the weights of this network ({first_line(e)})") from None
    derive_state(model)


def assign_from_network(model: Any, other: Any, where: str, *, more: bool) -> None:
    """Give every layer of `model` the weights of the like one of `other`, a network that a file holds.

    Layers are alike by their order, where kinds and shapes of all agree; else by their names. With `more`, `model` may
    be the first part of `other`. `where` names the file.

    Raises:
        BuildError: neither makes them alike.
    """
    ours, theirs = [layer for layer in _flat(model) if layer.weights], [x for x in _flat(other) if x.weights]
    in_order = theirs[: len(ours)] if more else theirs
    pairs = list(zip(ours, in_order, strict=True)) if len(ours) == len(in_order) else []
    if not pairs or not all(_alike(a, b) for a, b in pairs):
        named = {layer.name: layer for layer in theirs}
        pairs = (
            [(layer, named[layer.name]) for layer in ours if layer.name in named] if len(named) == len(theirs) else []
        )
        if len(pairs) < len(ours) or not all(_alike(a, b) for a, b in pairs) or (len(ours) < len(theirs) and not more):
            raise BuildError(
                f"{where}: has {len(theirs)} layers with weights, the network {len(ours)}, and neither their order nor "
                "their names make them alike; it is of another network"
            )
    for layer, source in pairs:
        layer.set_weights(source.get_weights())
    derive_state(model)


def _flat(model: Any) -> Iterator[Any]:
    """Yield the layers of a model and of models in it."""
    for layer in model.layers:
        if hasattr(layer, "layers"):
            yield from _flat(layer)
        else:
            yield layer


def _alike(one: Any, other: Any) -> bool:
    shapes = [tuple(v.shape) for v in one.weights] == [tuple(v.shape) for v in other.weights]
    return shapes and type(one).__name__ == type(other).__name__


def _is_weight(path: str) -> bool:
    # Beside them lie the optimizer's variables, and the states of random generators.
    return path.startswith(("layers/", "_layer_checkpoint_dependencies/")) and "seed_generator" not in path
