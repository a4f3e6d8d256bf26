"""How large a network a file may ask for: known before anything of it is allocated.

A configuration of a kilobyte can ask for a terabyte of variables, call a network in a network in a network, or make
an image a million times larger. What it may ask for is what the file's own weights can fill.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

from tlc_edge.runtime.errors import BuildError

LONGEST_TEXT = 64 << 20
"""Bytes of a configuration, or of the description of a file."""
MOST_LAYERS = 5_000
"""Of a network, each as often as it is used; the largest of Keras' own have a thousand."""
DEEPEST = 40
"""How many settings in settings, lists in lists, networks in networks."""
LARGEST_TENSOR = 1 << 28
"""Numbers that a layer may give for one image: a gibibyte as they are computed."""
SPARE_PARAMETERS = 1_000_000
"""Besides twice those that the file holds: what is no weight, and what is in no file."""
_NO_LAYERS = ("_initializer", "_regularizer", "_constraint")


def check_config(config: Any, where: str) -> None:
    """Refuse a configuration, parsed JSON, of more layers or deeper settings than any network has.

    Raises:
        BuildError: it has them; names the file, `where`.
    """
    if _uses(config, where, 0) > MOST_LAYERS:
        raise BuildError(
            f"{where}: its configuration has more than {MOST_LAYERS:,} layers, or uses them that often; it was refused"
        )


def _uses(value: Any, where: str, depth: int) -> int:
    """Return how many layers there are, each as often as its network calls it."""
    if depth > 3 * DEEPEST:  # an object, its config and its list of layers are three
        raise BuildError(f"{where}: its configuration is nested too deeply to be one; it was refused")
    if isinstance(value, list):
        return sum(_uses(item, where, depth + 1) for item in value)
    if not isinstance(value, dict):
        return 0
    inside = (v for k, v in value.items() if k != "inbound_nodes" and not str(k).endswith(_NO_LAYERS))
    calls = value.get("inbound_nodes")
    often = max(1, len(calls)) if isinstance(calls, list) else 1
    return often * (("class_name" in value) + sum(_uses(item, where, depth + 1) for item in inside))


def make_within(make: Callable[[], Any], held: int, where: str) -> Any:
    """Return the Keras network that `make` makes; its variables get memory only once their number is known.

    `held` is how many numbers the file has for it.

    Raises:
        BuildError: it has more parameters than the file can fill, or a layer gives too much.
    """
    import keras
    from keras.src.backend.common import global_state

    waiting = "uninitialized_variables"  # Keras has no public name for what a scope has not yet given memory
    try:
        with keras.StatelessScope(initialize_variables=False) as scope:
            model = make()
            made: list[Any] = global_state.get_global_attribute(waiting) or []
            count = sum(math.prod(int(n) for n in variable.shape) for variable in made)
            if count > 2 * held + SPARE_PARAMETERS:
                raise BuildError(
                    f"{where}: its configuration asks for {count:,} parameters, and its weights hold {held:,}; "
                    "it is damaged or made to do harm, and was refused"
                )
            check_tensors(model, where)
            scope.initialize_variables = True
    except BaseException:
        global_state.set_global_attribute(waiting, [])
        raise
    return model


def check_tensors(model: Any, where: str) -> None:
    """Refuse a Keras network of which a layer gives more for one image than is ever computed.

    Raises:
        BuildError: one does; names it.
    """
    for name, shape in _outputs(model):
        count = math.prod(n for n in shape if n is not None)
        if count > LARGEST_TENSOR:
            raise BuildError(
                f"{where}: {name[:60]} gives {count:,} numbers for one image, at most {LARGEST_TENSOR:,} are computed; "
                "take smaller images, or another network"
            )


def _outputs(model: Any) -> Iterator[tuple[str, tuple[int | None, ...]]]:
    graph = getattr(model, "_functional", None) or model  # a Sequential has one inside
    for level in getattr(graph, "_nodes_by_depth", {}).values():
        for node in level:
            yield from ((node.operation.name, tuple(tensor.shape[1:])) for tensor in node.outputs)
            if hasattr(node.operation, "layers"):
                yield from _outputs(node.operation)
