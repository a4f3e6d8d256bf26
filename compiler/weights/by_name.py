"""Arrays that know their names into the variables of a Keras network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlc_edge.runtime.errors import BuildError

from .derived import derive_state


def assign_by_name(
    model: Any,
    arrays: Mapping[str, NDArray[Any]],
    where: str,
    *,
    ordered: bool = True,
    renamed: Mapping[str, str] | None = None,
) -> None:
    """Give every variable of `model`, a Keras model, the array of its layer and name.

    `arrays` maps paths that end in `layer/variable` to arrays; what stays over is ignored. Where the names of
    a file are of no use, its order decides, if every shape fits and `ordered` says that it has the network's own.
    `renamed` maps layers of `model` to what the file calls them.

    Raises:
        BuildError: a variable has no array, or one of another shape.
    """
    wanted = [(_as_filed(path, renamed or {}), variable) for path, variable in variables(model)]
    inner = [(_with_inner(path, variable), variable) for path, variable in wanted]
    named = _match(inner, arrays) or _match(wanted, arrays)
    if named is None:
        fits = len(arrays) == len(wanted) and all(
            tuple(v.shape) == a.shape for (_, v), a in zip(wanted, arrays.values(), strict=True)
        )
        if fits and not ordered:
            raise BuildError(
                f"{where}: does not name its layers as the network does, nor say in which order they come; "
                "where Keras 3 saved these weights, let the file's name end in .weights.h5"
            )
        if not fits:
            missing = next((path for path, _ in wanted if not _candidates(path, arrays)), wanted[0][0])
            raise BuildError(
                f"{where}: has no weights for {missing} ({len(arrays)} arrays, the network needs {len(wanted)}); "
                "it is of another network"
            )
        named = list(arrays.values())
    for (path, variable), array in zip(wanted, named, strict=True):
        if tuple(variable.shape) != array.shape:
            raise BuildError(
                f"{where}: {path} has shape {list(array.shape)}, the network needs {list(variable.shape)}; "
                "it is of another network"
            )
        variable.assign(np.asarray(array, np.float32))
    derive_state(model)


def _with_inner(path: str, variable: Any) -> str:
    """Return a path with the layers within its layer, as of attention and of what wraps another layer."""
    layer, _, name = path.rpartition("/")
    own = layer.rpartition("/")[2]
    full = str(getattr(variable, "path", "")).split("/")
    if own not in full[:-2] or full[-1] != name:
        return path
    return "/".join((layer, *full[full.index(own) + 1 :]))


def _as_filed(path: str, renamed: Mapping[str, str]) -> str:
    return "/".join(renamed.get(part, part) for part in path.split("/"))


def variables(model: Any, above: str = "") -> list[tuple[str, Any]]:
    """Return the variables of a model and of models in it, each with its path of layer names."""
    found: list[tuple[str, Any]] = []
    for layer in model.layers:
        path = f"{above}{layer.name}"
        if hasattr(layer, "layers"):
            found += variables(layer, f"{path}/")
        else:
            found += [(f"{path}/{v.name.split(':')[0]}", v) for v in layer.weights]
    return found


def _match(wanted: Sequence[tuple[str, Any]], arrays: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]] | None:
    found: list[NDArray[Any]] = []
    used: set[str] = set()
    for path, variable in wanted:
        keys = [k for k in _candidates(path, arrays) if k not in used]
        fitting = [k for k in keys if arrays[k].shape == tuple(variable.shape)] or keys
        if not fitting:
            return None
        used.add(fitting[0])
        found.append(arrays[fitting[0]])
    return found


def _candidates(path: str, arrays: Mapping[str, NDArray[Any]]) -> list[str]:
    """Return the keys that end like `path`, those that agree over more of it first."""
    parts = path.split("/")
    names = {parts[-1]}
    if parts[-1] == "kernel":
        names.add("depthwise_kernel")  # what Keras 2 calls it in a depthwise convolution
    for start in range(len(parts) - 1):
        ends = ["/".join((*parts[start:-1], name)) for name in names]
        keys = [k for k in arrays if any(_plain(k) == e or _plain(k).endswith(f"/{e}") for e in ends)]
        if keys:
            return keys
    return []


def _plain(key: str) -> str:
    return key.removesuffix(":0")
