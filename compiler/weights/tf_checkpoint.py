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
from .checkpoint_names import attribute, read_contents
from .derived import derive_state
from .keras_weights import FORMS
from .rehearse import rehearse

_REHEARSED = "tlc_edge.compiler.weights.rehearse_checkpoint"


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
        BuildError: the checkpoint is missing or damaged, nothing could be restored, or it does not tell which of
            several values is a variable's.
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
        contents = read_contents(reader)
    except Exception as e:  # TensorFlow raises one of many kinds for a damaged file
        raise BuildError(f"{weights}: not a TensorFlow checkpoint, or a damaged one ({first_line(e)})") from None
    found = attribute(model, [(path, v) for path, v in wanted if path in chosen], contents, weights)
    table: list[Restored] = []
    for path, variable in wanted:
        if path not in chosen:
            table.append(Restored(path, "initial", "no pattern of --restore matches it"))
            continue
        key = found[path].key
        if key is None:
            table.append(Restored(path, "missing", "the checkpoint has none of that name"))
            continue
        if tuple(contents.shapes[key]) != tuple(variable.shape):
            reason = f"{list(contents.shapes[key])} in the checkpoint, {list(variable.shape)} in the network"
            table.append(Restored(path, "shape", reason))
            continue
        try:
            variable.assign(reader.get_tensor(key))
        except Exception as e:
            raise BuildError(
                f"{weights}: {key} cannot be read ({first_line(e)}); copy all of its files again"
            ) from None
        table.append(Restored(path, "restored", f"from {found[path].name}"))
    if not any(r.outcome == "restored" for r in table):
        first = next(r for r in table if r.outcome != "initial")
        there = sorted(contents.names)
        raise BuildError(
            f"{weights}: nothing was restored; {first.variable}: {first.reason}; the checkpoint has "
            f"{', '.join(there[:6])}{', …' if len(there) > 6 else ''}: it is of another network"
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
