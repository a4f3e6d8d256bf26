"""The weights in a `.keras` file of Keras 2: by kinds and numbers of layers, in the order of its configuration."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlc_edge.runtime.errors import BuildError

from .derived import derive_state

# What Keras 2.15 calls a model's list of layers in the file, and what versions before it did.
_LISTS = ("layers", "_layer_checkpoint_dependencies")


def assign_by_kind(
    model: Any, topology: Any, arrays: Mapping[str, NDArray[Any]], where: str, renamed: Mapping[str, str]
) -> None:
    """Give every layer of `model`, made of the configuration `topology`, its arrays in their order.

    `renamed` maps layers of `model` to what the file calls them.

    Raises:
        BuildError: a layer has other arrays in the file than it needs.
    """
    filed = dict(_places(topology, "", "", arrays))
    for path, layer in _layers(model, "", renamed):
        weights = layer.weights
        if not weights:
            continue
        place = filed.get(path)
        count = sum(k.startswith(f"{place}/vars/") for k in arrays)
        given = [arrays[f"{place}/vars/{i}"] for i in range(count)]
        if [a.shape for a in given] != [tuple(v.shape) for v in weights]:
            raise BuildError(
                f"{where}: layer {path[:80]} has weights {_shapes(given)}, and needs {_shapes(weights)}; save the "
                "network as .h5 where it was made"
            )
        for variable, array in zip(weights, given, strict=True):
            variable.assign(np.asarray(array, np.float32))
    derive_state(model)


def _shapes(arrays: Any) -> str:
    return ", ".join(str(list(a.shape)) for a in arrays[:6]) or "none"


def _layers(model: Any, above: str, renamed: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
    """Yield the layers of a model and of models in it, with the names that the file has for them on the way."""
    for layer in model.layers:
        path = f"{above}{renamed.get(layer.name, layer.name)}"
        if hasattr(layer, "layers"):
            yield from _layers(layer, f"{path}\n", renamed)
        else:
            yield path, layer


def _places(topology: Any, above: str, place: str, arrays: Mapping[str, NDArray[Any]]) -> Iterator[tuple[str, str]]:
    """Yield for each layer of a configuration where its arrays lie in the file."""
    config = topology["config"]
    items = config if isinstance(config, list) else config["layers"]
    starts = [f"{place}{name}/" for name in _LISTS]
    start = next((s for s in starts if any(k.startswith(s) for k in arrays)), starts[0])
    used: Counter[str] = Counter()
    for item in items:
        kind = _snake(str(item["class_name"]))
        number = used[kind]
        used[kind] += 1
        at = f"{start}{kind}_{number}" if number else f"{start}{kind}"
        name = item.get("name") or item["config"].get("name")
        if isinstance(item["config"], dict) and "layers" in item["config"]:
            yield from _places(item, f"{above}{name}\n", f"{at}/", arrays)
        else:
            yield f"{above}{name}", at


def _snake(kind: str) -> str:
    """Return a class's name as Keras writes it in such files: `DepthwiseConv2D` is `depthwise_conv2d`."""
    kind = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", kind))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", kind).lower()
