"""A network that a function of the user's own makes: `--backbone mynet.py:make_model`."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
import traceback
from collections.abc import Generator
from pathlib import Path
from types import ModuleType
from typing import Any

from tlc_edge.compiler.options import Asked
from tlc_edge.compiler.records import Backbone, Provenance, Restored
from tlc_edge.compiler.weights.keras_weights import FORMS, is_weight_file, load_weights
from tlc_edge.compiler.weights.pins import file_sha256
from tlc_edge.compiler.weights.tf_checkpoint import prefix, restore
from tlc_edge.runtime.errors import BuildError, UsageError, first_line

from .adopt import adopt
from .refuse import refuse


def split_python_name(name: str) -> tuple[Path, str] | None:
    """Return file and function of `mynet.py:make_model`, or None where `name` is not of this form."""
    path, colon, function = name.rpartition(":")
    return (Path(path), function) if colon and path.endswith(".py") and function.isidentifier() else None


def check_restore(asked: Asked) -> None:
    """Check that there is a checkpoint for the patterns of `asked.restore` to choose from.

    Raises:
        UsageError: there is none.
    """
    if asked.restore and asked.weights is None:
        raise UsageError(f"--restore {asked.restore[0]!r} needs a TensorFlow checkpoint: --weights model.ckpt-34")
    if asked.restore and is_weight_file(str(asked.weights)):
        raise UsageError(
            f"--restore {asked.restore[0]!r} chooses from a TensorFlow checkpoint; {FORMS} such as {asked.weights} "
            "is taken as a whole: leave --restore out, or give --weights a checkpoint"
        )


def claims(name: str) -> bool:
    """Return whether a name is of the form `FILE.py:FUNCTION`."""
    return split_python_name(name) is not None


def check(name: str, asked: Asked) -> None:
    """Check what can be checked without running the code.

    Raises:
        UsageError: the file is not there, or an option is not for it.
    """
    path = _split(name)[0]
    if not path.is_file():
        raise UsageError(f"--backbone {name}: no file {path}")
    refuse(name, asked, takes=("pixels", "weights", "restore"))
    check_restore(asked)


def reads(_name: str, _asked: Asked) -> list[Path] | None:
    """Return None: what code reads is not known."""
    return None


def load(name: str, asked: Asked) -> Backbone:
    """Call the user's function for a Keras network and set its weights.

    Raises:
        BuildError: the function fails or returns something else; nothing could be restored.
        UsageError: a pattern of `asked.restore` is not a regular expression, or no layer matches it.
    """
    path, function = _split(name)
    check_restore(asked)
    model = _call(path, function)
    short = f"{path.name}:{function}"
    digest, source = file_sha256(path), short
    restored: tuple[Restored, ...] = ()
    notes = [f"{path} was run, because --backbone names it"]
    if asked.weights is None:
        notes.append(f"without --weights, the network has the weights that {function} gave it")
    elif is_weight_file(asked.weights):
        weights = Path(asked.weights)
        load_weights(model, weights)
        digest, source = file_sha256(weights), f"{short}, {weights.name}"
    else:
        checkpoint = prefix(asked.weights)
        if Path(asked.weights).is_dir():
            notes.append(f"{asked.weights}: its latest checkpoint was taken, {Path(checkpoint).name}")
        restored = restore(model, checkpoint, asked.restore)
        digest, source = file_sha256(Path(f"{checkpoint}.index")), f"{short}, {Path(checkpoint).name}"
    return adopt(short, model, asked, Provenance(source, digest, "unknown", "unknown"), restored=restored, notes=notes)


def _split(name: str) -> tuple[Path, str]:
    found = split_python_name(name)
    if found is None:
        raise UsageError(f"--backbone {name}: expected FILE.py:FUNCTION")
    return found


def _call(path: Path, function: str) -> Any:
    import keras

    # Names that Keras gives by itself (conv2d_1) count on from what the process has made before.
    keras.backend.clear_session()
    spec = importlib.util.spec_from_file_location(f"tlc_own_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise BuildError(f"{path}: cannot be loaded as Python")
    module = importlib.util.module_from_spec(spec)
    try:
        # What it prints must not get into the command's own output.
        with (
            contextlib.redirect_stdout(sys.stderr),
            _settings_kept(),
            _as_python_runs_it(module, path.resolve().parent),
        ):
            spec.loader.exec_module(module)
            make: Any = getattr(module, function, None)
            if not callable(make):
                raise UsageError(f"{path} has no function {function}")
            model = make()
    except UsageError:
        raise
    except (Exception, SystemExit) as e:
        lines = [f.lineno for f in traceback.extract_tb(e.__traceback__) if Path(f.filename) == path]
        where = f"{path}, line {lines[-1]}" if lines else str(path)
        raise BuildError(f"{where}: {type(e).__name__}: {first_line(e, silent='no reason given')}") from None
    if not isinstance(model, keras.Model):
        raise BuildError(f"{path}: {function}() gave a {type(model).__name__}, expected a Keras model")
    return model


@contextlib.contextmanager
def _settings_kept() -> Generator[None]:
    """Put Keras' global settings back after the code: those for its training, such as mixed precision, end with it."""
    from keras import config

    policy, dtype, layout = config.dtype_policy(), config.floatx(), config.image_data_format()
    epsilon = config.epsilon()
    try:
        yield
    finally:
        config.set_floatx(dtype)
        config.set_epsilon(epsilon)
        config.set_image_data_format(layout)
        config.set_dtype_policy(policy)


@contextlib.contextmanager
def _as_python_runs_it(module: ModuleType, folder: Path) -> Generator[None]:
    """Let a module import what lies beside it, and be found by its own name, as dataclasses ask; undone after.

    What it imported from its folder goes too: the next network may bring other files of the same names.
    """
    before = dict(sys.modules)
    sys.modules[module.__name__] = module
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # the code itself may have taken it out
            sys.path.remove(str(folder))
        new = set(sys.modules) - set(before)
        gone = {n for n in new if "." not in n and _lies_in(sys.modules[n], folder)} | {module.__name__}
        for name in new:
            if name.partition(".")[0] in gone:
                del sys.modules[name]


def _lies_in(module: ModuleType, folder: Path) -> bool:
    """Return whether a module or package lies directly in a folder; one in an environment there does not."""
    places = list(getattr(module, "__path__", None) or [getattr(module, "__file__", None) or ""])
    return any(p and Path(p).resolve().parent == folder for p in places)
