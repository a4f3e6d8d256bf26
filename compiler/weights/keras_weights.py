"""Weights alone, from a file that Keras wrote, into a network that is there already."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

from tlc_edge.runtime.errors import BuildError, first_line
from tlc_edge.runtime.quiet import quiet

from .by_name import assign_by_name
from .derived import derive_state
from .keras_zip import plain_weights, read_weights
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


def _is_weight(path: str) -> bool:
    # Beside them lie the optimizer's variables, and the states of random generators.
    return path.startswith(("layers/", "_layer_checkpoint_dependencies/")) and "seed_generator" not in path
