"""Plain arrays from an HDF5 file, and nothing else that such a file can hold.

HDF5 can link to other files, keep an array's bytes outside, and store Python objects. All that a network's
weights need is arrays of numbers in groups; the rest is refused by name.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from tlc_edge.runtime.errors import BuildError, first_line


@dataclass(frozen=True, eq=False)
class Arrays:
    """The weights of a network, in a file."""

    by_path: dict[str, NDArray[Any]]
    """Layer and variable, in the order in which Keras wrote them."""
    ordered: bool
    """Whether the file says that order; the names alone, as HDF5 sorts them, have conv_10 before conv_2."""


def read_arrays(path: Path, inside: IO[bytes] | None = None) -> Arrays:
    """Return the arrays of a file of weights, or those of the weights in a file of a whole network.

    `inside` is the file's content, where the HDF5 lies within another file.

    Raises:
        BuildError: the file is missing, damaged, or holds anything but plain arrays of numbers.
    """
    import h5py

    try:
        with h5py.File(inside or path, "r") as file:
            top = _plain(file, "model_weights", path) if "model_weights" in file else file
            found: dict[str, NDArray[Any]] = {}
            for name, item in _datasets(top, "", path):
                if item.dtype.kind not in "fiub":
                    raise BuildError(f"{path}: {name} holds {item.dtype}, expected plain numbers; it was refused")
                found[name] = np.asarray(item[()])
            return Arrays(found, "layer_names" in top.attrs or "layer_names0" in top.attrs)
    except (OSError, KeyError, RuntimeError, ValueError) as e:
        raise BuildError(f"{path}: not an HDF5 file, or a damaged one ({first_line(e)})") from None


def read_attribute(path: Path, name: str) -> str | None:
    """Return a text attribute of the file itself, or None where it has none.

    Raises:
        BuildError: the file is missing or damaged.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            value: Any = file.attrs.get(name)
    except (OSError, KeyError, RuntimeError, ValueError) as e:
        raise BuildError(f"{path}: not an HDF5 file, or a damaged one ({first_line(e)})") from None
    if value is None:
        return None
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _datasets(group: Any, above: str, path: Path) -> Iterator[tuple[str, Any]]:
    for name in _ordered(group):
        item = _plain(group, name, path)
        if hasattr(item, "keys"):
            yield from _datasets(item, f"{above}{name}/", path)
        else:
            yield f"{above}{name}", item


def _ordered(group: Any) -> list[str]:
    """Return a group's names, those first that Keras lists, in its order."""
    listed: list[str] = []
    for attribute in ("layer_names", "weight_names"):
        values: list[Any] = list(group.attrs.get(attribute, []))
        # Lists too long for one attribute go on in numbered ones.
        part = 0
        while f"{attribute}{part}" in group.attrs:
            values += list(group.attrs[f"{attribute}{part}"])
            part += 1
        listed += [v.decode() if isinstance(v, bytes) else str(v) for v in values]
    first = list(dict.fromkeys(n for n in listed if n in group))
    inside = {n.split("/")[0] for n in first}
    return first + [n for n in group if n not in first and n not in inside]


def _plain(group: Any, name: str, path: Path) -> Any:
    """Return a group or an array that lies in this very file."""
    import h5py

    at = group
    for part in name.strip("/").split("/"):
        link = at.get(part, getlink=True)
        if not isinstance(link, h5py.HardLink):
            raise BuildError(f"{path}: {name} is a link to another place or file; it was refused")
        at = at[part]
    if isinstance(at, h5py.Dataset) and (at.external or at.is_virtual):
        raise BuildError(f"{path}: {name} keeps its numbers in another file; it was refused")
    if not isinstance(at, h5py.Dataset | h5py.Group):
        raise BuildError(f"{path}: {name} is a {type(at).__name__}, expected arrays of numbers; it was refused")
    return at
