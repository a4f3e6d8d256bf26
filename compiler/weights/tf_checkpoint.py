"""A TensorFlow checkpoint into a Keras network: `--backbone mynet.py:make_model --weights model.ckpt-34`.

Both formats are read: the object-based one (`tf.train.Checkpoint`), whose variables are found by the full
names that it records and by their paths, and the name-based one of TensorFlow 1 (`tf.compat.v1.train.Saver`).
"""

from __future__ import annotations

import glob
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tlc_edge.compiler.records import Restored
from tlc_edge.runtime.errors import BuildError, UsageError, first_line
from tlc_edge.runtime.quiet import quiet

from .by_name import variables
from .derived import derive_state
from .keras_weights import FORMS
from .rehearse import rehearse

_REHEARSED = "tlc_edge.compiler.weights.rehearse_checkpoint"
_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
# What the same variable is called in other layers' APIs.
_ALIASES = {"kernel": ("kernel", "weights", "depthwise_kernel", "depthwise_weights"), "bias": ("bias", "biases")}


def prefix(weights: str) -> str:
    """Return a checkpoint's path without the suffixes of its files; of a folder, that of its latest checkpoint.

    Raises:
        BuildError: there is no such checkpoint.
    """
    if Path(weights).is_dir():
        return _latest(Path(weights))
    stem = re.sub(r"\.(index|meta|data-\d{5}-of-\d{5})$", "", weights)
    if Path(f"{stem}.index").is_file():
        return stem
    near = sorted(p.stem for p in Path(stem).parent.glob("*.index")) if Path(stem).parent.is_dir() else []
    raise BuildError(
        f"{weights}: no checkpoint there (no file {Path(stem).name}.index)"
        + (f"; that folder has {', '.join(near[:6])}" if near else f"; --weights takes one, or {FORMS}")
    )


def _latest(folder: Path) -> str:
    import tensorflow as tf

    try:
        with quiet():
            state: Any = tf.train.get_checkpoint_state(str(folder))
    except Exception as e:  # whatever a damaged file makes TensorFlow raise
        raise BuildError(
            f"{folder / 'checkpoint'}: damaged ({first_line(e)}); name a checkpoint in that folder"
        ) from None
    # By name: the folder may have been moved since, and what lies at its old path is another one.
    latest = None if state is None else folder / Path(state.model_checkpoint_path).name
    if latest is not None and Path(f"{latest}.index").is_file():
        return str(latest)
    names = sorted(p.stem for p in folder.glob("*.index"))
    if not names:
        raise BuildError(f"{folder}: a folder without a checkpoint (no *.index); --weights takes one, or {FORMS}")
    raise BuildError(f"{folder}: does not say which checkpoint is the latest; name one: {', '.join(names[:6])}")


def restore(model: Any, weights: str, patterns: Sequence[str] = ()) -> tuple[Restored, ...]:
    """Set the variables of a Keras model from a checkpoint; returns what became of each.

    `patterns` are regular expressions that match a layer's whole name or a variable's whole `layer/variable`;
    without any, all are wanted.

    Raises:
        BuildError: the checkpoint is missing or damaged, or nothing could be restored.
        UsageError: a pattern is not a regular expression, or no layer matches it.
    """
    import tensorflow as tf

    stem = prefix(weights)
    files = list(Path(stem).parent.glob(f"{glob.escape(Path(stem).name)}.*"))
    odd = next((path for path in files if not path.is_file()), None)
    if odd is not None:  # a pipe that nobody writes to would be waited for
        raise BuildError(f"{odd}: not a file, so this is no checkpoint; copy it again")
    rehearse(_REHEARSED, {"where": weights, "stem": stem}, weights, sum(path.stat().st_size for path in files))
    wanted = variables(model)
    chosen = _chosen([path for path, _ in wanted], patterns)
    try:
        with quiet():
            reader: Any = tf.train.load_checkpoint(stem)
        shapes: dict[str, Any] = reader.get_variable_to_shape_map()
        keys = _names(reader, shapes)
    except Exception as e:  # TensorFlow raises one of many kinds for a damaged file
        raise BuildError(f"{weights}: not a TensorFlow checkpoint, or a damaged one ({first_line(e)})") from None
    table: list[Restored] = []
    for path, variable in wanted:
        if path not in chosen:
            table.append(Restored(path, "initial", "no pattern of --restore matches it"))
            continue
        names = _matching(path, getattr(variable, "path", path), keys)
        if len({keys[n] for n in names}) != 1:
            listed = ", ".join(sorted(names)[:3])
            reason = f"the checkpoint has several such ({listed})" if names else "the checkpoint has none of that name"
            table.append(Restored(path, "missing", reason))
            continue
        key = keys[names[0]]
        if tuple(shapes[key]) != tuple(variable.shape):
            reason = f"{list(shapes[key])} in the checkpoint, {list(variable.shape)} in the network"
            table.append(Restored(path, "shape", reason))
            continue
        try:
            variable.assign(reader.get_tensor(key))
        except Exception as e:
            raise BuildError(
                f"{weights}: {key} cannot be read ({first_line(e)}); copy all of its files again"
            ) from None
        table.append(Restored(path, "restored", f"from {names[0]}"))
    if not any(r.outcome == "restored" for r in table):
        first = next(r for r in table if r.outcome != "initial")
        raise BuildError(
            f"{weights}: nothing was restored; {first.variable}: {first.reason}; the checkpoint has "
            f"{', '.join(sorted(keys)[:6])}{', …' if len(keys) > 6 else ''}: it is of another network"
        )
    derive_state(model)
    return tuple(table)


def _chosen(paths: Sequence[str], patterns: Sequence[str]) -> set[str]:
    if not patterns:
        return set(paths)
    chosen: set[str] = set()
    for pattern in patterns:
        try:
            compiled = re.compile(pattern)
        except re.error as e:
            raise UsageError(f"--restore {pattern!r}: not a regular expression ({e})") from None
        matched = {p for p in paths if any(compiled.fullmatch(n) for n in _ends(p))}
        if not matched:
            layers = ", ".join(dict.fromkeys(p.rpartition("/")[0] for p in paths))
            raise UsageError(f"--restore {pattern!r}: no layer matches; the network has {layers}")
        chosen |= matched
    return chosen


def _ends(path: str) -> tuple[str, ...]:
    """Return what a pattern may match: the variable, its layer, each with and without the models around it."""
    parts = path.split("/")
    return path, "/".join(parts[-2:]), "/".join(parts[:-1]), parts[-2]


def _names(reader: Any, shapes: dict[str, Any]) -> dict[str, str]:
    """Return the checkpoint's keys by every name under which a variable may be known."""
    if _GRAPH not in shapes:
        return {key: key for key in shapes}
    from tensorflow.core.protobuf import trackable_object_graph_pb2

    graph: Any = trackable_object_graph_pb2.TrackableObjectGraph()
    graph.ParseFromString(reader.get_tensor(_GRAPH))
    full = {a.full_name: a.checkpoint_key for n in graph.nodes for a in n.attributes if a.full_name}
    # Objects that are not layers may have variables without a telling name; then the path to them tells.
    paths = {k.removesuffix(_VALUE).replace("/_", "/"): k for k in shapes if k.endswith(_VALUE)}
    return {n: k for n, k in (paths | full).items() if k in shapes and ".OPTIMIZER_SLOT" not in k}


def _matching(path: str, full: str, keys: dict[str, str]) -> list[str]:
    """Return the names that are a variable's, those that agree over the most of its path."""
    for whole in dict.fromkeys((full, path)):
        parts = whole.split("/")
        last = _ALIASES.get(parts[-1], (parts[-1],))
        for start in range(len(parts) - 1):
            ends = ["/".join((*parts[start:-1], name)) for name in last]
            exact = [e for e in ends if e in keys]
            found = exact or [k for k in keys if any(k.endswith(f"/{e}") for e in ends)]
            if found:
                return found
    return []
