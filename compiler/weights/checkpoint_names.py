"""Which of a TensorFlow checkpoint's values is which variable's: by names, and by the graph of objects beside them.

A name may be that of several values: models inside a model name their layers each for itself, two networks lie in one
checkpoint, and TensorFlow ends a name at a colon. What a name leaves open is settled by the objects that led to the
variables, then by their own last names and shapes; what stays open is refused, as any choice could be another network.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tlc_edge.runtime.errors import BuildError

_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
# What the same variable is called in other layers' APIs.
_ALIASES = {"kernel": ("kernel", "weights", "depthwise_kernel", "depthwise_weights"), "bias": ("bias", "biases")}


@dataclass(frozen=True, eq=False)
class Contents:
    """What a checkpoint holds."""

    shapes: Mapping[str, Sequence[int]]
    """By key."""
    names: Mapping[str, frozenset[str]]
    """The keys of the values that have a name; a value may have two."""
    objects: Any
    """Its graph of objects, a TrackableObjectGraph; None in the format of TensorFlow 1."""


@dataclass(frozen=True)
class Found:
    """The value of one variable."""

    key: str | None
    """None where there is none of its name."""
    name: str = ""
    """The name that it was found by."""


@dataclass(frozen=True)
class _Offer:
    """The values that may be a variable's: those whose names agree with its path over so many of its parts."""

    keys: frozenset[str]
    agreeing: int
    name: str


def read_contents(reader: Any) -> Contents:
    """Return what a checkpoint's reader tells without reading a value."""
    shapes: dict[str, Any] = reader.get_variable_to_shape_map()
    if _GRAPH not in shapes:
        return Contents(shapes, {key: frozenset({key}) for key in shapes}, None)
    from tensorflow.core.protobuf import trackable_object_graph_pb2

    objects: Any = trackable_object_graph_pb2.TrackableObjectGraph()
    objects.ParseFromString(reader.get_tensor(_GRAPH))
    full = [(a.full_name, a.checkpoint_key) for n in objects.nodes for a in n.attributes if a.full_name]
    # Objects that are not layers may have variables without a telling name; then the path to them tells.
    paths = [(k.removesuffix(_VALUE).replace("/_", "/"), k) for k in shapes if k.endswith(_VALUE)]
    names: dict[str, set[str]] = defaultdict(set)
    for name, key in (*paths, *full):
        if key in shapes and ".OPTIMIZER_SLOT" not in key:
            names[name].add(key)
    return Contents(shapes, {name: frozenset(keys) for name, keys in names.items()}, objects)


def attribute(model: Any, wanted: Sequence[tuple[str, Any]], contents: Contents, where: str) -> dict[str, Found]:
    """Return the value of each variable of a Keras model; `wanted` are those that are asked for, with their paths.

    Raises:
        BuildError: a variable could have one of several values, and nothing tells which.
    """
    offers = {path: _offers(path, getattr(v, "path", path), contents.names) for path, v in wanted}
    variables = dict(wanted)
    found = {path: Found(None) for path, offer in offers.items() if not offer.keys}
    certain = {p: next(iter(o.keys)) for p, o in offers.items() if len(o.keys) == 1}
    # A value is one variable's: the one's whose path agrees most with its name.
    for paths in _shared(certain, variables):
        best = max(offers[p].agreeing for p in paths)
        closest = [p for p in paths if offers[p].agreeing == best]
        found |= {p: Found(None) for p in paths if p not in closest}
        for path in paths if len({id(variables[p]) for p in closest}) > 1 else found.keys() & set(paths):
            del certain[path]
    by_object = _by_object(model, variables, contents, certain)
    taken = set(certain.values())
    for path, offer in offers.items():
        if path not in found:
            key = certain.get(path) or _settled(path, variables[path], offer, by_object, contents, taken)
            if key is None:
                raise BuildError(_told(path, offer, where))
            found[path] = Found(key, offer.name if len(offer.keys) == 1 else key.removesuffix(_VALUE))
    for paths in _shared({p: f.key for p, f in found.items() if f.key is not None}, variables):
        raise BuildError(_told(paths[-1], offers[paths[-1]], where))
    return found


def _shared(keys: Mapping[str, str], variables: Mapping[str, Any]) -> list[list[str]]:
    """Return the paths of several variables that have one key."""
    paths: dict[str, list[str]] = defaultdict(list)
    for path, key in keys.items():
        paths[key].append(path)
    return [p for p in paths.values() if len({id(variables[x]) for x in p}) > 1]


def _offers(path: str, full: str, names: Mapping[str, frozenset[str]]) -> _Offer:
    for whole in dict.fromkeys((full, path)):
        parts = whole.split("/")
        last = _ALIASES.get(parts[-1], (parts[-1],))
        for start in range(len(parts) - 1):
            ends = ["/".join((*parts[start:-1], name)) for name in last]
            exact = [e for e in ends if e in names]
            found = exact or [n for n in names if any(n.endswith(f"/{e}") for e in ends)]
            if found:
                return _Offer(frozenset().union(*(names[n] for n in found)), len(parts) - start, sorted(found)[0])
    # TensorFlow ends a name at a colon, and so has one for all variables of such a layer.
    parts = full.partition(":")[0].split("/") if ":" in full else []
    for start in range(len(parts)):
        end = "/".join(parts[start:])
        keys = [k for n in names if f"/{n}".endswith(f"/{end}") for k in names[n]]
        if keys := [k for k in keys if _called(k, path.rpartition("/")[2])]:
            return _Offer(frozenset(keys), len(parts) - start, end)
    return _Offer(frozenset(), 0, "")


def _called(key: str, name: str) -> bool:
    """Return whether an object has its value under a variable's own last name."""
    return key.removesuffix(_VALUE).rpartition("/")[2].removeprefix("_") in (name, *_ALIASES.get(name, ()))


def _settled(
    path: str, variable: Any, offer: _Offer, by_object: Mapping[int, str], contents: Contents, taken: Collection[str]
) -> str | None:
    """Return the one of several keys that is a variable's; None where nothing tells."""
    if by_object.get(id(variable)) in offer.keys:
        return by_object[id(variable)]
    left = set(offer.keys) - set(taken)
    for narrower in (
        {k for k in left if _called(k, path.rpartition("/")[2])},
        {k for k in left if tuple(contents.shapes[k]) == tuple(variable.shape)},
    ):
        left = left & narrower or left
    return left.pop() if len(left) == 1 else None


def _told(path: str, offer: _Offer, where: str) -> str:
    keys = sorted(key.removesuffix(_VALUE) for key in offer.keys)
    listed = f"{', '.join(keys[:3])}{', …' if len(keys) > 3 else ''}"
    what = (
        f"has several values that {path} could have ({listed})"
        if len(keys) > 1
        else f"has one value, {listed}, that {path} and another variable could have"
    )
    return (
        f"{where}: {what}, and nothing tells which; give the layers the names that they have there (or the network "
        "itself the name of the object that holds them), or leave that layer out with --restore"
    )


def _by_object(
    model: Any, variables: Mapping[str, Any], contents: Contents, certain: Mapping[str, str]
) -> dict[int, str]:
    """Return keys by the id of a variable, as the same graph of objects has them; empty where there is no such one.

    The names have the last word: a graph that says otherwise for a variable whose name is certain is none. Of several,
    that of the network's own name counts, then the one of which most values fit.
    """
    if contents.objects is None:
        return {}
    nodes = contents.objects.nodes
    tree = _tree(model, {id(v) for v in variables.values()}, set())
    called = {c.node_id for n in nodes for c in n.children if c.local_name == model.name}
    found: list[tuple[bool, int, dict[int, str]]] = []
    for number in range(len(nodes)):
        keys = _along(tree, nodes, number)
        if keys is not None and all(keys.get(id(variables[path])) in (None, key) for path, key in certain.items()):
            fitting = sum(_fits(v, keys.get(id(v)), contents) for v in variables.values())
            found.append((number in called, fitting, keys))
    best = max((f[:2] for f in found), default=None)
    different = {frozenset(keys.items()): keys for *f, keys in found if tuple(f) == best}
    return next(iter(different.values())) if len(different) == 1 else {}


def _fits(variable: Any, key: str | None, contents: Contents) -> bool:
    return key is not None and key in contents.shapes and tuple(contents.shapes[key]) == tuple(variable.shape)


def _tree(node: Any, variables: Collection[int], seen: set[int]) -> dict[str, Any]:
    """Return what leads from an object to variables: by names, down to a variable's id."""
    seen.add(id(node))
    found: dict[str, Any] = {}
    children: Any = node._trackable_children() if hasattr(node, "_trackable_children") else {}
    for name, child in children.items():
        if id(child) in variables:
            found[name] = id(child)
        elif id(child) not in seen:
            below = _tree(child, variables, seen)
            if below:
                found[name] = below
    return found


def _along(tree: Mapping[str, Any], nodes: Any, number: int) -> dict[int, str] | None:
    """Return the keys of all variables of a tree from one object of the checkpoint; None where something lacks."""
    children = {c.local_name: c.node_id for c in nodes[number].children if 0 <= c.node_id < len(nodes)}
    if not tree or not set(tree) <= set(children):
        return None
    keys: dict[int, str] = {}
    for name, below in tree.items():
        if isinstance(below, int):
            values = [a.checkpoint_key for a in nodes[children[name]].attributes if a.name == "VARIABLE_VALUE"]
            if len(values) != 1:
                return None
            keys[below] = values[0]
        else:
            inner = _along(below, nodes, children[name])
            if inner is None:
                return None
            keys |= inner
    return keys
