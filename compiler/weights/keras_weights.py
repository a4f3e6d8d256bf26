"""Weights alone, from a file that Keras wrote, into a network that is there already."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

from tlc_edge.runtime.errors import BuildError, first_line
from tlc_edge.runtime.quiet import quiet

from .by_name import assign_by_name
from .derived import derive_state
from .hdf5 import read_arrays

FORMS = "a .h5, .weights.h5 or .keras file"
_INSIDE = "model.weights.h5"


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
        try:
            with zipfile.ZipFile(path) as archive:
                data = archive.read(_INSIDE)
        except (KeyError, ValueError, zipfile.BadZipFile, OSError) as e:
            raise BuildError(f"{path}: not a .keras file, or a damaged one ({e})") from None
        arrays = read_arrays(path, io.BytesIO(data))  # refuses all that is not plain arrays
    else:
        arrays = read_arrays(path)
        # Keras 2 wrote its own format under any name; Keras 3 names what it writes so, and its layers by their kind.
        if arrays.ordered or not path.name.endswith(".weights.h5"):
            assign_by_name(model, arrays.by_path, str(path), ordered=arrays.ordered)
            return
    count, needed = sum(map(_is_weight, arrays.by_path)), len(model.weights)
    if count > needed and not more:
        # Keras would take the first layers of each kind, whichever these are.
        raise BuildError(
            f"{path}: has {count} arrays, the network needs {needed}, and Keras 3 names them by the kind and number of "
            "their layers alone; make the whole network that they are of, and cut it with --shave"
        )
    try:
        with quiet():
            model.load_weights(path)
    except Exception as e:  # Keras raises whatever a file of another network makes it stumble on
        raise BuildError(f"{path}: not the weights of this network ({first_line(e)})") from None
    derive_state(model)


def _is_weight(path: str) -> bool:
    # Beside them lie the optimizer's variables, and the states of random generators.
    return path.startswith(("layers/", "_layer_checkpoint_dependencies/")) and "seed_generator" not in path
