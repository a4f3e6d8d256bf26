"""A SavedModel's networks, read from its graph and its variables alone.

TensorFlow's own loader runs what a SavedModel says is to be run at its loading: initialisers of tables, the graph's
own way to restore, functions of objects. None of that is needed for a network. So the graph's description is read,
all that the chosen function reaches is held against a list, the variables come from the checkpoint by their keys,
and only those functions are imported, with the variables handed to them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tlc_edge.runtime.errors import BuildError, first_line
from tlc_edge.runtime.quiet import quiet

from .operations import functions_reached

FILE = "saved_model.pb"
_LEAVES = frozenset({"VariableV2", "Variable", "VarHandleOp", "Placeholder"})
_VARIABLES = _LEAVES - {"Placeholder"}


@dataclass(frozen=True, eq=False)
class Entry:
    """A function of a SavedModel that could be called."""

    name: str
    """The signature's, or empty for the call of the object itself."""
    takes: tuple[tuple[str, Any], ...]
    """Names and TensorSpecs of its inputs."""
    gives: tuple[str, ...]
    """Keys of its outputs, in their order; empty for one output without a key."""
    training: bool
    """Whether it was made for training."""
    make: Callable[[int], Callable[[Any], Any]]
    """From an output's number to a function from the image tensor to it; raises a BuildError where it is refused."""


def read_graph(folder: Path) -> Any:
    """Return the MetaGraphDef for inference: the one tagged `serve`, else one without tags, as TF-Hub has them.

    Raises:
        BuildError: it is damaged, or has no such graph.
    """
    from tensorflow.core.protobuf import saved_model_pb2

    document: Any = saved_model_pb2.SavedModel()
    try:
        document.ParseFromString((folder / FILE).read_bytes())
    except Exception as e:
        raise BuildError(f"{folder / FILE}: not a SavedModel, or a damaged one ({first_line(e)[:200]})") from None
    metas = list(document.meta_graphs)
    if not metas:
        raise BuildError(f"{folder / FILE}: not a SavedModel, or a damaged one (no graph in it)")
    tags = [sorted(meta.meta_info_def.tags) for meta in metas]
    if len(metas) == 1:
        return metas[0]
    chosen = next((t for t in (["serve"], []) if t in tags), None)
    if chosen is None:
        listed = "; ".join(", ".join(t) for t in tags)
        raise BuildError(f"{folder}: none of its graphs is tagged serve or has no tag ({listed}); save such a one")
    return metas[tags.index(chosen)]


def entries(folder: Path, meta: Any) -> list[Entry]:
    """Return the functions that a graph offers: its signatures, and the calls of its object.

    Raises:
        BuildError: it is damaged.
    """
    with _damage(folder):
        return _Objects(folder, meta).entries() if meta.HasField("object_graph_def") else _signatures(folder, meta)


@contextlib.contextmanager
def _damage(folder: Path) -> Generator[None]:
    """Turn what a damaged description makes of reading it into a BuildError."""
    try:
        yield
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as e:
        raise BuildError(f"{folder / FILE}: not a SavedModel, or a damaged one ({first_line(e)[:200]})") from None


class _Checkpoint:
    """The variables' values, by their keys."""

    def __init__(self, folder: Path) -> None:
        import tensorflow as tf

        self._folder = folder
        try:
            with quiet():
                self.reader: Any = tf.train.load_checkpoint(str(folder / "variables" / "variables"))
                self.shapes: dict[str, Any] = self.reader.get_variable_to_shape_map()
        except Exception as e:
            raise BuildError(f"{folder}: its variables cannot be read ({first_line(e)[:200]}); copy it again") from None

    def variable(self, key: str) -> Any:
        import tensorflow as tf

        if key not in self.shapes:
            raise BuildError(f"{self._folder}: its variables lack {key[:80]!r}; copy or save it again")
        try:
            with quiet():
                return tf.Variable(self.reader.get_tensor(key), trainable=False)
        except Exception as e:
            raise BuildError(
                f"{self._folder}: {key[:80]} cannot be read ({first_line(e)[:200]}); copy it again"
            ) from None


class _Objects:
    """A graph of objects, as TensorFlow 2 saves them: its functions, and the variables that they take."""

    def __init__(self, folder: Path, meta: Any) -> None:
        self._folder, self._meta = folder, meta
        self._nodes = meta.object_graph_def.nodes
        self._library = {f.signature.name: f for f in meta.graph_def.library.function}

    def entries(self) -> list[Entry]:
        root = {c.local_name: c.node_id for c in self._nodes[0].children}
        found: list[Entry] = []
        if "signatures" in root:
            for child in self._nodes[root["signatures"]].children:
                node = self._nodes[child.node_id]
                kind = node.WhichOneof("kind")
                if kind == "bare_concrete_function":
                    found.append(self._entry(child.local_name, node.bare_concrete_function.concrete_function_name))
                elif kind == "function":
                    found += [self._entry(child.local_name, f) for f in node.function.concrete_functions[:1]]
        if "__call__" in root:
            found += [self._entry("", f) for f in self._nodes[root["__call__"]].function.concrete_functions]
        return found

    def _entry(self, name: str, function: str) -> Entry:
        import tensorflow as tf
        from tensorflow.python.saved_model import nested_structure_coder as coder

        saved = self._meta.object_graph_def.concrete_functions[function]
        given: Any = coder.decode_proto(saved.canonicalized_input_signature)
        flat = tf.nest.flatten(given)
        keys = coder.decode_proto(saved.output_signature)
        specs = [s for s in flat if isinstance(s, tf.TensorSpec)]
        named = [str(k) for k in sorted(given[1])] if name else [str(s.name) for s in specs]
        return Entry(
            name,
            tuple(zip(named, specs, strict=True)),
            tuple(sorted(keys)) if isinstance(keys, dict) else (),
            any(s is True for s in flat),
            lambda output: self._make(function, list(saved.bound_inputs), output),
        )

    def _make(self, function: str, bound: Sequence[int], output: int) -> Callable[[Any], Any]:
        with _damage(self._folder):
            return self._made(function, bound, output)

    def _made(self, function: str, bound: Sequence[int], output: int) -> Callable[[Any], Any]:
        import tensorflow as tf

        where = str(self._folder / FILE)
        graph = tf.compat.v1.GraphDef(versions=self._meta.graph_def.versions)
        signature: Any = self._library[function].signature
        types = [a.type for a in signature.input_arg]
        names = ["image", *(f"captured_{i}" for i in range(len(bound)))]
        if len(types) != len(names):
            raise BuildError(f"{where}: {function[:60]} takes {len(types)} values, not {len(names)}; save it again")
        for name, kind in zip(names, types, strict=True):
            node = graph.node.add(name=name, op="Placeholder")
            node.attr["dtype"].type = kind
        call = graph.node.add(name="network", op="StatefulPartitionedCall", input=names)
        call.attr["Tin"].list.type.extend(types)
        call.attr["Tout"].list.type.extend(a.type for a in signature.output_arg)
        call.attr["f"].func.name = function
        _import_library(graph, functions_reached([call], self._library, where, frozenset()), self._library)
        captured = self._captured(bound)
        return lambda image: _run(
            graph, "image:0", image, dict(zip(names[1:], captured, strict=True)), f"network:{output}"
        )

    def _captured(self, bound: Sequence[int]) -> list[Any]:
        import tensorflow as tf

        variables = [i for i in bound if self._nodes[i].WhichOneof("kind") == "variable"]
        checkpoint = _Checkpoint(self._folder) if variables else None
        keys = {} if checkpoint is None else self._keys(checkpoint)
        constants = {n.name: n for n in self._meta.graph_def.node if n.op == "Const"}
        made: dict[int, Any] = {}
        for number in bound:
            kind = self._nodes[number].WhichOneof("kind")
            if kind == "variable" and number in keys and checkpoint is not None:
                made.setdefault(number, checkpoint.variable(keys[number]))
            elif kind == "constant" and self._nodes[number].constant.operation in constants:
                node = constants[self._nodes[number].constant.operation]
                made[number] = tf.constant(tf.make_ndarray(node.attr["value"].tensor))
            else:
                raise BuildError(
                    f"{self._folder / FILE}: its network needs a {str(kind).replace('_', ' ')} beside its variables, "
                    "which would be made by running code of its own; it was refused without running it"
                )
        return [made[number] for number in bound]

    def _keys(self, checkpoint: _Checkpoint) -> dict[int, str]:
        """Return the checkpoint's key of each variable: both graphs of objects have the same names along a path."""
        from tensorflow.core.protobuf import trackable_object_graph_pb2

        there: Any = trackable_object_graph_pb2.TrackableObjectGraph()
        there.ParseFromString(checkpoint.reader.get_tensor("_CHECKPOINTABLE_OBJECT_GRAPH"))
        found: dict[int, str] = {}
        seen, open_ = {0}, [(0, 0)]
        while open_:
            ours, theirs = open_.pop()
            values = [a.checkpoint_key for a in there.nodes[theirs].attributes if a.name == "VARIABLE_VALUE"]
            if values:
                found[ours] = values[0]
            children = {c.local_name: c.node_id for c in there.nodes[theirs].children}
            for child in self._nodes[ours].children:
                if child.local_name in children and child.node_id not in seen:
                    seen.add(child.node_id)
                    open_.append((child.node_id, children[child.local_name]))
        return found


def _signatures(folder: Path, meta: Any) -> list[Entry]:
    """Return the signatures of a graph without objects, as TensorFlow 1 saved it."""
    import tensorflow as tf

    def entry(name: str, signature: Any) -> Entry:
        takes = tuple(
            (key, tf.TensorSpec(tf.TensorShape(info.tensor_shape), tf.dtypes.as_dtype(info.dtype)))
            for key, info in sorted(signature.inputs.items())
        )
        keys = tuple(sorted(signature.outputs))
        start = next(iter(signature.inputs.values())).name if signature.inputs else ""
        return Entry(
            name,
            takes,
            keys,
            training=False,
            make=lambda output: _make_pruned(folder, meta, start, signature.outputs[keys[output]].name),
        )

    return [entry(k, s) for k, s in sorted(meta.signature_def.items()) if not k.startswith("__saved_model")]


def _make_pruned(folder: Path, meta: Any, start: str, end: str) -> Callable[[Any], Any]:
    with _damage(folder):
        return _pruned(folder, meta, start, end)


def _pruned(folder: Path, meta: Any, start: str, end: str) -> Callable[[Any], Any]:
    """Return what leads from the tensor `start` to `end`, the variables in it with their values."""
    import tensorflow as tf

    where = str(folder / FILE)
    nodes = {n.name: n for n in meta.graph_def.node}
    kept: dict[str, Any] = {}
    open_ = [_node(end)]
    while open_:
        name = open_.pop()
        if name in kept:
            continue
        if name not in nodes:
            raise BuildError(f"{where}: its graph reads {name[:60]!r}, which is not in it; save it again")
        kept[name] = nodes[name]
        if name != _node(start) and nodes[name].op not in _VARIABLES:
            open_ += [_node(i) for i in nodes[name].input]
    library = {f.signature.name: f for f in meta.graph_def.library.function}
    inner = [n for name, n in kept.items() if name != _node(start)]
    reached = functions_reached(inner, library, where, _LEAVES)
    graph = tf.compat.v1.GraphDef(versions=meta.graph_def.versions)
    variables: list[str] = []
    for name, node in kept.items():
        if node.op in _VARIABLES or name == _node(start):
            stands = graph.node.add(name=name, op="Placeholder")
            kind = node.attr["dtype"].type if node.op != "VarHandleOp" else tf.resource.as_datatype_enum
            stands.attr["dtype"].type = kind
            variables += [name] if name != _node(start) else []
        elif node.op == "Placeholder":
            raise BuildError(f"{where}: its network needs another input, {name[:60]!r}, besides the image")
        else:
            copied = graph.node.add()
            copied.CopyFrom(node)
            _plain(copied)
    _import_library(graph, reached, library)
    checkpoint = _Checkpoint(folder) if variables else None
    keys = _restored_keys(nodes)
    made = {} if checkpoint is None else {v: checkpoint.variable(keys.get(v, v)) for v in variables}
    values = {name: made[name] if nodes[name].op == "VarHandleOp" else made[name].numpy() for name in variables}
    return lambda image: _run(graph, start, image, values, end)


def _restored_keys(nodes: dict[str, Any]) -> dict[str, str]:
    """Return the checkpoint's keys of the variables, as the graph's own way to restore them has them; it is not run."""
    found: dict[str, str] = {}
    for node in nodes.values():
        if node.op not in ("Assign", "AssignVariableOp") or len(node.input) < 2:
            continue
        source: Any = nodes.get(_node(node.input[1]))
        output = _output(node.input[1])
        for _ in range(8):  # Identities on the way; one that leads to itself is none
            if source is None or source.op != "Identity" or not source.input:
                break
            output = _output(source.input[0])
            source = nodes.get(_node(source.input[0]))
        if source is None or source.op != "RestoreV2" or len(source.input) < 2:
            continue
        names = nodes.get(_node(source.input[1]))
        listed = [] if names is None else list(names.attr["value"].tensor.string_val)
        if output < len(listed):
            found[_node(node.input[0])] = listed[output].decode("utf-8", "replace")
    return found


def _run(graph: Any, start: str, image: Any, values: dict[str, Any], end: str) -> Any:
    """Import the graph where a function is traced, on the image and the variables."""
    import tensorflow as tf

    here: Any = tf.compat.v1.get_default_graph()
    given: dict[str, Any] = {start: image}
    for name, value in values.items():
        if isinstance(value, tf.Variable) and _takes_handle(graph, name):
            here.watch_variable(value)
            given[f"{name}:0"] = here.capture(value.handle)
        else:
            given[f"{name}:0"] = tf.constant(value.numpy() if isinstance(value, tf.Variable) else value)
    (output,) = tf.graph_util.import_graph_def(graph, input_map=given, return_elements=[end], name="saved")
    return output


def _takes_handle(graph: Any, name: str) -> bool:
    """Return whether a value goes into the graph as a variable, and not as what is in it."""
    import tensorflow as tf

    node = next(n for n in graph.node if n.name == name)
    return bool(node.attr["dtype"].type == tf.resource.as_datatype_enum)


def _import_library(graph: Any, reached: set[str], library: dict[str, Any]) -> None:
    for name in sorted(reached):
        function = graph.library.function.add()
        function.CopyFrom(library[name])
        for node in function.node_def:
            _plain(node)


def _plain(node: Any) -> None:
    """Take off what is for training and for machines that are not here."""
    node.device = ""
    for attribute in ("_gradient_op_type", "_class"):
        if attribute in node.attr:
            del node.attr[attribute]


def _node(tensor: str) -> str:
    return tensor.removeprefix("^").partition(":")[0]


def _output(tensor: str) -> int:
    last = tensor.rpartition(":")[2]
    return int(last) if last.isdecimal() else 0
