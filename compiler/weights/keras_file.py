"""A Keras network from a file: `.keras`, or the HDF5 of Keras 2 and later. A file that carries code is refused."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

from tlc_edge.runtime.errors import BuildError, first_line
from tlc_edge.runtime.quiet import quiet

from .by_name import assign_by_name
from .code import refuse_foreign
from .keras_2_zip import assign_by_kind
from .keras_config import network_from_config
from .keras_zip import cleaned, is_of_keras_2, read_config, read_weights
from .pins import file_sha256
from .read_confined import read_content


def load_keras_file(path: Path) -> tuple[Any, str]:
    """Return the Keras model in a file, with its weights, and the file's SHA-256.

    Raises:
        BuildError: the file is missing, damaged, holds no network, or names code.
    """
    digest = file_sha256(path)
    model = _load_zip(path) if zipfile.is_zipfile(path) else _load_hdf5(path)
    return model, digest


def _load_hdf5(path: Path) -> Any:
    content = read_content(path)
    text = content.attributes.get("model_config")
    if text is None:
        raise BuildError(
            f"{path}: holds weights, or nothing that is Keras'; where it is weights alone, name the network: "
            "--backbone keras:NAME --weights FILE, or --backbone mynet.py:make_model --weights FILE"
        )
    version = content.attributes.get("keras_version", "2")
    try:
        topology: Any = json.loads(text)
    except (ValueError, RecursionError):
        raise BuildError(f"{path}: its model_config is not valid JSON; the file is damaged") from None
    with quiet():
        major = int(version[0]) if version[:1].isdigit() else 2
        model, renamed = network_from_config(topology, str(path), major)
    assign_by_name(model, content.arrays, str(path), ordered=content.ordered, renamed=renamed)
    return model


def _load_zip(path: Path) -> Any:
    config = read_config(path)
    if is_of_keras_2(path):
        with quiet():
            model, renamed = network_from_config(config, str(path), 2)
        assign_by_kind(model, config, read_weights(path).arrays, str(path), renamed)
        return model
    try:
        refuse_foreign(config, str(path))
    except RecursionError:
        raise BuildError(f"{path}: not a .keras file, or a damaged one (nested too deeply)") from None
    import keras

    try:
        with cleaned(path) as plain, quiet():
            return keras.saving.load_model(plain, compile=False, safe_mode=True)
    except BuildError:
        raise
    except Exception as e:  # Keras raises whatever a damaged part makes it stumble on
        raise BuildError(f"{path}: Keras cannot load it ({first_line(e)})") from None
