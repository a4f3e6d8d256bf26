"""A Keras network from its configuration in JSON, whichever Keras or TensorFlow.js wrote it.

Keras' own loader reads today's dialect and, in part, yesterday's. This one reads what a network is for
inference: the layers that Keras itself brings, and how they are joined. It calls nothing that the
configuration names, so a file that carries code cannot run it.
"""

from __future__ import annotations

import inspect
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tlc_edge.runtime.errors import BuildError, first_line

from .arithmetic import Operation, operation
from .code import refuse_code
from .extent import check_config, make_within

_OLDEST = 2
_MODELS = frozenset({"Model", "Functional", "Sequential"})
_WRAPPERS = frozenset({"TimeDistributed", "SpectralNormalization", "Bidirectional"})
_RENAMED = {
    "BatchNormalizationV1": "BatchNormalization",
    "BatchNormalizationV2": "BatchNormalization",
    "ThresholdedReLU": "ReLU",
    "GroupedQueryAttention": "GroupQueryAttention",
    "FixedDropout": "Dropout",  # of the package efficientnet; it does nothing in use
}
_RENAMED_KEYS = {"LeakyReLU": {"alpha": "negative_slope"}, "ReLU": {"theta": "threshold"}}
_TOLD = ("training", "mask")  # arguments of a call that say nothing of a network in use
_TRAINING_ONLY = ("_initializer", "_regularizer", "_constraint")


@dataclass(frozen=True)
class _Source:
    where: str
    keras: int
    renamed: dict[str, str] = field(default_factory=dict[str, str])

    def named(self, name: Any) -> Any:
        """Return a name without slashes, which Keras 3 has none of in names; what the file calls it is kept."""
        if not isinstance(name, str) or "/" not in name:
            return name
        plain = name.replace("/", ".")
        self.renamed[plain] = name
        return plain


def network_from_config(topology: Any, where: str, keras: int, held: int) -> tuple[Any, dict[str, str]]:
    """Return a functional Keras model without its weights, and what the file calls the layers renamed in it.

    `topology` is the parsed JSON, an object with `class_name` and `config`; `keras` is the major version
    whose meanings hold (the hard sigmoid changed in Keras 3). `where` names the file in errors, `held` is how many
    numbers its weights have. A layer whose
    activation becomes layers of its own gives its name to the last of them, so that a cut there comes after it.

    Raises:
        BuildError: it is no such configuration, carries code, has a layer that is not known here, or asks for more
            than its weights can fill.
    """
    if keras < _OLDEST:
        raise BuildError(f"{where}: of Keras {keras}, whose settings had other names; load and save it in Keras 2")
    source = _Source(where, keras)
    try:
        check_config(topology, where)
        return make_within(lambda: _model(topology, source), held, where), source.renamed
    except BuildError:
        raise
    except RecursionError:
        raise BuildError(f"{where}: the network's configuration is nested too deeply to be one") from None
    except Exception as e:  # whatever a damaged configuration makes Keras raise
        said = f"{type(e).__name__}: {first_line(e, silent='no reason given')}"
        raise BuildError(f"{where}: the network's configuration is damaged ({said})") from None


def _model(topology: Any, source: _Source) -> Any:
    kind = topology["class_name"]
    if kind not in _MODELS:
        raise BuildError(f"{source.where}: holds a {kind}, expected a Sequential or functional Keras network")
    config = topology["config"]
    if kind == "Sequential":
        return _sequential(config, source)
    return _functional(config, source)


def _sequential(config: Any, source: _Source) -> Any:
    from keras import Input, Model

    items: Sequence[Any] = config if isinstance(config, list) else config["layers"]
    name = None if isinstance(config, list) else config.get("name")
    shape = _shape_of(items[0])
    first = items[0]
    while shape is None and first["class_name"] in _MODELS:  # a network that begins with a network
        inner = first["config"]
        first = (inner if isinstance(inner, list) else inner["layers"])[0]
        shape = _shape_of(first)
    if shape is None and not isinstance(config, list) and config.get("build_input_shape"):
        shape = config["build_input_shape"]
    if shape is None:
        raise BuildError(f"{source.where}: the network does not say its input's shape")
    x = start = Input(tuple(shape[1:]), name="input" if items[0]["class_name"] != "InputLayer" else None)
    for item in items:
        if item["class_name"] != "InputLayer":
            for layer in _layers(item, source):
                x = layer(x)
    return Model(start, x, name=source.named(name))


def _functional(config: Any, source: _Source) -> Any:
    from keras import Input, Model, tree

    made: dict[str, list[Any] | Operation] = {}
    outputs: dict[tuple[str, int], Any] = {}
    waiting: list[tuple[str, int, _Call]] = []
    inputs: dict[str, Any] = {}
    for item in config["layers"]:
        name = item.get("name") or item["config"]["name"]
        if item["class_name"] == "InputLayer":
            tensor = Input(tuple(_shape_of(item)[1:]), name=source.named(name))
            outputs[name, 0] = tensor
            inputs[name] = tensor
            continue
        _check_in_use(item, name, source)
        plain = operation(item, source.where, source.named(name))
        made[name] = plain or _layers({**item, "config": {**_as_dict(item["config"]), "name": name}}, source)
        waiting += [(name, i, _call(node, plain is not None)) for i, node in enumerate(item["inbound_nodes"])]

    last = _ends(config["output_layers"])
    first = _first_uses(waiting, tree.flatten((last, [(call.args, call.kwargs) for _, _, call in waiting])))

    def resolved(value: Any) -> Any:
        if not isinstance(value, _Reference):
            return value
        given = outputs[value[0], value[1]]
        return given if hasattr(given, "_keras_history") else tree.flatten(given)[value.part]

    while waiting:
        later: list[tuple[str, int, _Call]] = []
        for name, index, call in waiting:
            keys = [(r[0], r[1]) for r in tree.flatten((call.args, call.kwargs)) if isinstance(r, _Reference)]
            if not all(key in outputs for key in keys):
                later.append((name, index, call))
                continue
            args: Any = tree.map_structure(resolved, call.args)
            kwargs: Any = tree.map_structure(resolved, call.kwargs)
            steps = made[name]
            if callable(steps):
                given = steps(args, kwargs)
            else:
                given = steps[0](*args, **kwargs)
                for layer in steps[1:]:
                    given = layer(given)
            outputs[name, first[name] + index] = given
        if len(later) == len(waiting):
            raise BuildError(f"{source.where}: layer {later[0][0]} reads a layer that is not there")
        waiting = later
    ends = [resolved(r) for r in tree.flatten(last)]
    # The order in which it is called, which need not be that of its layers.
    named = [r[0] for r in tree.flatten(_ends(config.get("input_layers", []))) if r[0] in inputs]
    starts = [inputs[name] for name in dict.fromkeys((*named, *inputs))]
    return Model(
        starts[0] if len(starts) == 1 else starts,
        ends[0] if len(ends) == 1 else ends,
        name=source.named(config.get("name")),
    )


def _check_in_use(item: Any, name: str, source: _Source) -> None:
    """Check that no batch norm is called as in training, which in Keras 2 holds when the network is used, too.

    Raises:
        BuildError: one is. Its answers depend on which images come together.
    """
    if source.keras > 2 or "BatchNormalization" not in json.dumps(item):
        return
    entries = [r for node in item["inbound_nodes"] if isinstance(node, list) for r in node if isinstance(r, list)]
    if any(len(r) > 3 and isinstance(r[3], dict) and r[3].get("training") is True for r in entries):
        raise BuildError(
            f"{source.where}: layer {name} is called with training=True, so its batch norms compute with the images "
            "that happen to come together; call it without, and save the network again"
        )


class _Reference:
    """The output of a layer: its name, which of its uses, and of several outputs which."""

    def __init__(self, name: str, use: Any, part: Any = 0) -> None:
        self._pair = (name, int(use))
        self.part = int(part)

    def __getitem__(self, i: int) -> Any:
        return self._pair[i]


def _first_uses(uses: Sequence[tuple[str, int, Any]], read: Sequence[Any]) -> dict[str, int]:
    """Return the number of the first use of each layer: 1 for a model in a file of Keras 2, which made it once."""
    count, top = Counter(name for name, _, _ in uses), Counter[str]()
    for r in read:
        if isinstance(r, _Reference):
            top[r[0]] = max(top[r[0]], r[1] + 1)
    return {name: max(0, top[name] - n) for name, n in count.items()}


@dataclass(frozen=True)
class _Call:
    """One use of a layer or an operation; of a layer only what it reads."""

    args: list[Any]
    kwargs: dict[str, Any]


def _call(node: Any, arithmetic: bool) -> _Call:
    if not arithmetic:
        return _call_of_layer(node)
    if isinstance(node, dict):
        return _Call(_with_references(node["args"]), _with_references(node["kwargs"]))
    entries = node if not node or not isinstance(node[0], str) else [node]
    first = [r[2] if r[0] == "_CONSTANT_VALUE" else _Reference(*r[:3]) for r in entries]
    kwargs = {k: _as_reference(v) for k, v in (entries[0][3] if len(entries[0]) > 3 else {}).items()}
    return _Call([first if len(first) > 1 else first[0]], kwargs)


def _call_of_layer(node: Any) -> _Call:
    """Return what a layer reads: one tensor, a list, or several by name, as attention does.

    Raises:
        BuildError: it is called with settings of its own, which not every reader would keep.
    """
    if isinstance(node, dict):  # Keras 3: args and kwargs, with tensors marked as such
        args = _with_references(node["args"])
        named = {k: _with_references(v) for k, v in node["kwargs"].items() if k not in _TOLD}
    else:
        entries = node if not node or not isinstance(node[0], str) else [node]
        args = [_references([r[:3] for r in entries])]
        given = {k: v for r in entries for k, v in (r[3] if len(r) > 3 else {}).items()}
        named = {k: _as_reference(v) for k, v in given.items() if k not in _TOLD}
    others = sorted(k for k, v in named.items() if not isinstance(v, _Reference) and v not in (None, False))
    if others:
        raise BuildError(f"the call of a layer has arguments of its own ({', '.join(others)[:80]})")
    return _Call(args, {k: v for k, v in named.items() if isinstance(v, _Reference)})


def _with_references(value: Any) -> Any:
    """Return arguments as Keras 3 writes them down, with each tensor a reference."""
    if isinstance(value, list):
        return [_with_references(v) for v in value]
    if not isinstance(value, dict) or value.get("class_name") in (
        "__slice__",
        "__ellipsis__",
        "__numpy__",
        "__tensor__",
    ):
        return value
    if value.get("class_name") == "__tuple__":
        return _with_references(value["items"])
    found: list[_Reference] = []
    _find_tensors(value, found)
    return found[0] if value.get("class_name") else {k: _with_references(v) for k, v in value.items()}


def _as_reference(value: Any) -> Any:
    """Return an argument of Keras 2: a tensor is the name of its layer, and two numbers."""
    tensor = isinstance(value, list) and len(value) >= 3 and isinstance(value[0], str)
    return _Reference(*value[:3]) if tensor else value


def _references(node: Any) -> Any:
    """Return what a node reads: one reference or a list of them."""
    found: list[_Reference] = []
    if isinstance(node, dict):  # Keras 3: args and kwargs, with tensors marked as such
        _find_tensors(node, found)
    elif node and isinstance(node[0], str):  # one output layer
        found.append(_Reference(*node[:3]))
    else:
        found.extend(_Reference(*r[:3]) for r in node)
    return found[0] if len(found) == 1 else found


def _ends(layers: Any) -> Any:
    """Return the inputs or outputs of a network; those with names come in the order of their names, as Keras has it."""
    if isinstance(layers, dict) and "class_name" not in layers:
        return [_references(layers[key]) for key in sorted(layers)]
    return _references(layers)


def _find_tensors(value: Any, found: list[_Reference]) -> None:
    if isinstance(value, dict):
        if value.get("class_name") == "__keras_tensor__":
            history = value["config"]["keras_history"]
            found.append(_Reference(*history[:3]))
            return
        for item in value.values():
            _find_tensors(item, found)
    elif isinstance(value, list):
        for item in value:
            _find_tensors(item, found)


def _shape_of(item: Any) -> Any:
    config = _as_dict(item["config"])
    shape = config.get("batch_input_shape") or config.get("batch_shape")
    return shape["config"] if isinstance(shape, dict) else shape  # older files wrap the tuple


def _as_dict(config: Any) -> dict[str, Any]:
    return config if isinstance(config, dict) else {"layers": config}


def _layers(item: Any, source: _Source) -> list[Any]:
    """Return the layers, mostly one, that do what one of the file does."""
    from keras import layers

    kind = str(item["class_name"])
    kind = _RENAMED.get(kind, kind)
    if kind in _MODELS:
        return [_model(item, source)]
    name = item["config"].get("name", kind)
    refuse_code(source.where, str(name), kind)
    cls: Any = getattr(layers, kind, None)
    known_layer = isinstance(cls, type) and issubclass(cls, layers.Layer)
    if not known_layer or item.get("registered_name") not in (None, kind):
        raise BuildError(f"{source.where}: layer {name} is a {kind}, which is not one of Keras' own layers")
    known = inspect.signature(cls.__init__).parameters
    renamed = {
        str(_RENAMED_KEYS.get(kind, {}).get(key, key)): value
        for key, value in item["config"].items()
        if not key.endswith(_TRAINING_ONLY)
    }
    config: dict[str, Any] = {k: v for k, v in renamed.items() if k in known and k not in ("dtype", "kwargs")}
    if isinstance(config.get("axis"), list) and len(config["axis"]) == 1:
        config["axis"] = config["axis"][0]
    if kind in _WRAPPERS and isinstance(config.get("layer"), dict):
        config["layer"] = _wrapped(config["layer"], source, name)
    after: list[Any] = []
    if "activation" in config:
        config["activation"], after = _activation(config["activation"], source, name)
    if after:
        source.renamed[f"{source.named(name)}_linear"] = name
    # A setting that is an object is none that a network for inference needs, and Keras would import what it names.
    objects = [k for k, v in config.items() if isinstance(v, dict) and "class_name" in v]
    if objects:
        raise BuildError(f"{source.where}: layer {name} ({kind}) has an object as its {objects[0]}; it was refused")
    config["name"] = f"{source.named(name)}_linear" if after else source.named(name)
    return [cls(**config), *after]


def _wrapped(item: Any, source: _Source, name: str) -> Any:
    """Return the layer that another one wraps.

    Raises:
        BuildError: it is none, or takes more than one layer to do.
    """
    kind, config = str(item.get("class_name")), item.get("config")
    made = _layers(item, source) if isinstance(config, dict) and kind not in _MODELS else []
    if len(made) != 1:
        raise BuildError(f"{source.where}: layer {name} wraps a {kind[:60]}, which is not read in such a file")
    return made[0]


def _activation(value: Any, source: _Source, layer: str) -> tuple[str, list[Any]]:
    """Return an activation by its name, and the layers that do it where it has none; the last bears `layer`'s name."""
    from keras import activations, layers

    if isinstance(value, dict):
        if value.get("class_name") not in ("function", None):
            # A layer as an activation, with numbers of its own: ReLU(max_value=1), LeakyReLU(0.3).
            return "linear", _layers({**value, "config": {**value["config"], "name": layer}}, source)
        value = value.get("config")
    if value is None:
        return "linear", []
    try:
        if not isinstance(value, str):
            raise ValueError("not a name")
        activations.get(value)
    except ValueError:
        raise BuildError(
            f"{source.where}: layer {layer} has the activation {value!r}, which is not one of Keras' own"
        ) from None
    if value == "hard_sigmoid" and source.keras < 3:
        # max(0, min(1, 0.2 x + 0.5)); Keras 3 gave the name to relu6(x + 3) / 6.
        slope = layers.Rescaling(0.2, 0.5, name=f"{source.named(layer)}_slope")
        return "linear", [slope, layers.ReLU(max_value=1.0, name=source.named(layer))]
    return value, []
