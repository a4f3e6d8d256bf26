"""The parts of a `.keras` file, and its weights as a file with nothing in it but plain arrays.

Keras opens HDF5 itself. So it is given one that was written here, of the arrays that a confined
process has read: whatever else the stranger's file holds, Keras never meets it.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
import zipfile
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from tlc_edge.runtime.errors import BuildError, first_line
from tlc_edge.runtime.zip_damage import ZIP_DAMAGE

from .extent import LONGEST_TEXT
from .read_confined import Content, budget_for, read_content

_CONFIG, _METADATA, _WEIGHTS = "config.json", "metadata.json", "model.weights.h5"


def read_config(path: Path) -> Any:
    """Return a `.keras` file's configuration.

    Raises:
        BuildError: it is no such file, or damaged.
    """
    try:
        return json.loads(_read(path, _CONFIG, LONGEST_TEXT))
    except (ValueError, RecursionError) as e:
        raise BuildError(f"{path}: not a .keras file, or a damaged one ({e})") from None


def is_of_keras_2(path: Path) -> bool:
    """Return whether Keras 2, or its further life as tf_keras, wrote a `.keras` file.

    Raises:
        BuildError: it is no such file, or damaged.
    """
    try:
        return str(json.loads(_read(path, _METADATA, LONGEST_TEXT)).get("keras_version", "3")).startswith("2.")
    except (ValueError, AttributeError, RecursionError) as e:
        raise BuildError(f"{path}: not a .keras file, or a damaged one ({first_line(e)})") from None


def read_weights(path: Path) -> Content:
    """Return the arrays in a `.keras` file.

    Raises:
        BuildError: it is no such file, damaged, or holds anything but plain arrays.
    """
    return read_content(path, _read(path, _WEIGHTS, budget_for(path.stat().st_size)))


@contextlib.contextmanager
def plain_weights(arrays: Mapping[str, NDArray[Any]]) -> Generator[str]:
    """Yield a file of weights as Keras 3 writes it, of arrays by their paths."""
    import h5py

    with tempfile.TemporaryDirectory(prefix="tlc-") as folder:
        plain = Path(folder, "plain.weights.h5")
        with h5py.File(plain, "w") as file:
            for name, array in arrays.items():
                file.create_dataset(name, data=array)
        yield str(plain)


def _read(path: Path, name: str, longest: int) -> bytes:
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.getinfo(name).file_size > longest:
                raise ValueError(f"{name} is too long")
            return archive.read(name)
    except (KeyError, RuntimeError, *ZIP_DAMAGE) as e:
        raise BuildError(f"{path}: not a .keras file, or a damaged one ({first_line(e)})") from None
