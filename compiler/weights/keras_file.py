"""A Keras network from a file: `.keras`, or the HDF5 of Keras 2 and later. A file that carries code is refused."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

from tlc_edge.runtime.errors import BuildError, first_line
from tlc_edge.runtime.quiet import quiet

from .by_name import assign_by_name
from .code import refuse_code
from .hdf5 import read_arrays, read_attribute
from .keras_config import network_from_config
from .pins import file_sha256


def load_keras_file(path: Path) -> tuple[Any, str]:
    """Return the Keras model in a file, with its weights, and the file's SHA-256.

    Raises:
        BuildError: the file is missing, damaged, holds no network, or names code.
    """
    digest = file_sha256(path)
    model = _load_zip(path) if zipfile.is_zipfile(path) else _load_hdf5(path)
    return model, digest


def _load_hdf5(path: Path) -> Any:
    text = read_attribute(path, "model_config")
    if text is None:
        raise BuildError(
            f"{path}: holds weights, or nothing that is Keras'; where it is weights alone, name the network: "
            "--backbone keras:NAME --weights FILE, or --backbone mynet.py:make_model --weights FILE"
        )
    version = read_attribute(path, "keras_version") or "2"
    try:
        topology: Any = json.loads(text)
    except (ValueError, RecursionError):
        raise BuildError(f"{path}: its model_config is not valid JSON; the file is damaged") from None
    with quiet():
        major = int(version[0]) if version[:1].isdigit() else 2
        model, renamed = network_from_config(topology, str(path), major)
    arrays = read_arrays(path)
    assign_by_name(model, arrays.by_path, str(path), ordered=arrays.ordered, renamed=renamed)
    return model


def _load_zip(path: Path) -> Any:
    try:
        with zipfile.ZipFile(path) as archive:
            config: Any = json.loads(archive.read("config.json"))
        _refuse_foreign(config, path)
    except (KeyError, ValueError, RecursionError, zipfile.BadZipFile, OSError) as e:
        raise BuildError(f"{path}: not a .keras file, or a damaged one ({e})") from None
    import keras

    try:
        with quiet():
            return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as e:  # Keras raises whatever a damaged part makes it stumble on
        raise BuildError(f"{path}: Keras cannot load it ({first_line(e)})") from None


def _refuse_foreign(config: Any, path: Path) -> None:
    """Refuse, before Keras sees it, what would run a function or import a module that is not Keras' own."""
    if isinstance(config, list):
        for item in config:
            _refuse_foreign(item, path)
        return
    if not isinstance(config, dict):
        return
    kind, module = config.get("class_name"), config.get("module")
    if isinstance(kind, str):
        name = config["config"].get("name", kind) if isinstance(config.get("config"), dict) else kind
        refuse_code(str(path), str(name), kind)
        own = module in (None, "builtins") or str(module).split(".")[0] == "keras"
        if not own or (module == "builtins" and kind != "function" and config.get("registered_name")):
            raise BuildError(
                f"{path}: {name} is {module}.{kind}, which is not Keras' own; it was refused without importing it: "
                "name the code yourself, --backbone mynet.py:make_model --weights FILE"
            )
    for value in config.values():
        _refuse_foreign(value, path)
