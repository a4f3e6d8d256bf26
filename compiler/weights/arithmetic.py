"""Arithmetic between layers, as a network's configuration has it: TFOpLambda of Keras 2, operations of Keras 3.

Only what stands in the tables here is made, by its name, of numbers and tensors: it is data as layers are. A
configuration cannot name any other function.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tlc_edge.runtime.errors import BuildError, first_line

# What TensorFlow calls it below `tf`, and the operation of Keras 3.
_FUNCTIONS = {
    **dict.fromkeys(("math.add", "__operators__.add", "add", "nn.bias_add"), "Add"),
    **dict.fromkeys(("math.subtract", "subtract"), "Subtract"),
    **dict.fromkeys(("math.multiply", "multiply"), "Multiply"),
    **dict.fromkeys(("math.truediv", "truediv", "math.divide", "divide", "realdiv"), "TrueDivide"),
    **dict.fromkeys(("math.negative", "negative"), "Negative"),
    **dict.fromkeys(
        ("nn.relu", "nn.relu6", "nn.sigmoid", "math.sigmoid", "nn.softmax", "nn.swish", "nn.silu"), "Activate"
    ),
    **dict.fromkeys(("cast", "identity"), "Cast"),
    **dict.fromkeys(("stack", "concat"), "Stack"),
    "reverse": "Flip",
    "__operators__.getitem": "GetItem",
}
_ACTIVATIONS = {"swish": "silu"}
_KERAS_2 = ("TFOpLambda", "SlicingOpLambda")
_KERAS_3 = frozenset(
    {
        "Add",
        "Subtract",
        "Multiply",
        "Divide",
        "TrueDivide",
        "Negative",
        "GetItem",
        "Flip",
        "Stack",
        "Concatenate",
        "Cast",
    }
)
_PLAIN = frozenset({"numpy", "nn", "math", "image", "linalg"})
"""Modules of keras.ops whose operations call no function that they are given."""
_OF_LAYERS = frozenset({"trainable", "dtype"})
# Arguments that change nothing here.
_IDLE = ("name", "data_format")

Operation = Callable[[Sequence[Any], Mapping[str, Any]], Any]


def operation(item: Any, where: str, name: str) -> Operation | None:
    """Return what one entry of a configuration computes, of its arguments; None where it is a layer.

    Raises:
        BuildError: it calls a function that is not arithmetic known here.
    """
    kind, config = str(item["class_name"]), item["config"]
    if kind in _KERAS_2:
        function = str(config.get("function", "__operators__.getitem"))
        made = _FUNCTIONS.get(function)
        if made is None:
            raise BuildError(
                f"{where}: {name[:80]} calls tf.{function[:80]}, which is not one of the operations that tlc knows; it "
                "was refused without calling it: save the network without it, or as a SavedModel"
            )
        if made == "Activate":
            return _activation(function, name, where)
    # Layers of these names have settings; operations have none but their own, and there is no layer Cast.
    elif kind not in _KERAS_3 or not isinstance(config, dict) or (kind != "Cast" and _OF_LAYERS & set(config)):
        return _of_keras(item, where, name)
    else:
        function, made = kind, kind
    settings = {k: v for k, v in config.items() if k in ("axis", "dtype")}

    def run(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        values = [*args, *(v for k, v in kwargs.items() if k not in _IDLE)]
        try:
            return _run(made, name, values, {**settings, **kwargs}, function)
        except (TypeError, ValueError, IndexError, KeyError, AttributeError):
            raise BuildError(f"{where}: {name[:80]} ({function[:80]}) has arguments that tlc does not know") from None

    return run


def _of_keras(item: Any, where: str, name: str) -> Operation | None:
    """Return one of Keras 3's own operations on arrays (keras.ops) that has settings of plain numbers and names."""
    from keras.src import ops  # the classes have no public name

    nodes, config = item.get("inbound_nodes"), item["config"]
    if not isinstance(config, dict) or "trainable" in config or not nodes or not isinstance(nodes[0], dict):
        return None  # layers say whether they are trained, and Keras 2 had no operations
    kind = str(item["class_name"])
    cls: Any = getattr(ops, kind, None) or getattr(ops.image, kind, None)
    plain = getattr(cls, "__module__", "").removeprefix("keras.src.ops.") in _PLAIN or kind in ("Slice", "Unstack")
    if not isinstance(cls, type) or not issubclass(cls, ops.Operation) or not plain:
        return None

    def run(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        try:
            made = cls(**{k: _settled(v) for k, v in config.items() if k != "name"}, name=name)
            return made(*map(_settled, args), **{k: _settled(v) for k, v in kwargs.items()})
        except (TypeError, ValueError, IndexError, KeyError, AttributeError) as e:
            raise BuildError(
                f"{where}: {name[:80]} (keras.ops' {kind[:80]}) cannot be made ({first_line(e)})"
            ) from None

    return run


def _settled(value: Any) -> Any:
    """Return an argument with the arrays that Keras 3 writes down as such."""
    if isinstance(value, list | tuple):
        return type(value)(_settled(v) for v in value)
    return _number(value) if isinstance(value, dict) else value


def _run(made: str, name: str, values: list[Any], settings: Mapping[str, Any], function: str) -> Any:
    from keras import layers
    from keras.src import ops  # the classes have no public name

    if made == "Cast":
        if "float" not in str(settings.get("dtype", "float32")):
            raise ValueError
        return layers.Identity(name=name)(values[0])
    if made in ("Flip", "Stack", "Concatenate"):
        axis = settings.get("axis", 0 if made == "Stack" else None)
        kind = "Concatenate" if function == "concat" else made
        return getattr(ops, kind)(axis=axis if made != "Flip" or axis is None else _whole(axis), name=name)(values[0])
    if made == "GetItem":
        key = values[1]
        parts = [_part(k) for k in key] if isinstance(key, list | tuple) else [_part(key)]
        return ops.GetItem(name=name)(values[0], tuple(parts))
    if made == "Negative":
        return ops.Negative(name=name)(values[0])
    first, second = (_number(v) for v in values)
    return getattr(ops, made)(name=name)(first, second)


def _activation(function: str, name: str, where: str) -> Operation:
    plain = function.rpartition(".")[2]

    def run(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        from keras import layers

        usual = {"name": None, "axis": -1, "beta": 1.0}
        others = [k for k, v in kwargs.items() if k != "name" and v is not None and v != usual.get(k)]
        if plain == "softmax" and others == ["axis"]:
            return layers.Softmax(axis=_whole(kwargs["axis"]), name=name)(args[0])
        if others or len(args) != 1:
            raise BuildError(
                f"{where}: {name[:80]} calls tf.{function[:80]} with {', '.join(others)[:80] or 'several tensors'}, "
                "which tlc does not know; save the network without it, or as a SavedModel"
            )
        if plain == "relu6":
            return layers.ReLU(max_value=6.0, name=name)(args[0])
        return layers.Activation(_ACTIVATIONS.get(plain, plain), name=name)(args[0])

    return run


def _number(value: Any) -> Any:
    """Return a tensor as it is, and a constant as a number or an array."""
    if hasattr(value, "_keras_history") or isinstance(value, int | float):
        return value
    if isinstance(value, dict):  # as Keras 3 writes an array down
        value = value["config"]["value"]
    array = np.asarray(value)
    if array.dtype.kind not in "fiu":
        raise ValueError
    return array.astype(np.float32)


def _whole(axis: Any) -> Any:
    return tuple(int(a) for a in axis) if isinstance(axis, list | tuple) else int(axis)


def _part(key: Any) -> Any:
    """Return one index of `x[...]` as Python has it."""
    if key is None or isinstance(key, int):
        return key
    kind = key.get("class_name")
    if kind == "__ellipsis__":
        return Ellipsis
    if kind is None:  # as Keras 2 writes a slice down
        return slice(*(_end(key[end]) for end in ("start", "stop", "step")))
    if kind != "__slice__":
        raise ValueError
    return slice(*(_end(key["config"][end]) for end in ("start", "stop", "step")))


def _end(value: Any) -> int | None:
    return None if value is None else int(value)
