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
from .extent import check_config, make_within
from .keras_2_zip import assign_by_kind
from .keras_config import network_from_config
from .keras_zip import is_of_keras_2, plain_weights, read_config, read_weights
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
        model, renamed = network_from_config(topology, str(path), major, content.count)
    assign_by_name(model, content.arrays, str(path), ordered=content.ordered, renamed=renamed)
    return model


def _load_zip(path: Path) -> Any:
    config = read_config(path)
    if is_of_keras_2(path):
        content = read_weights(path)
        with quiet():
            model, renamed = network_from_config(config, str(path), 2, content.count)
        assign_by_kind(model, config, content.arrays, str(path), renamed)
        return model
    check_config(config, str(path))
    refuse_foreign(config, str(path))
    content = read_weights(path)
    try:
        with plain_weights(content.arrays) as plain, quiet():
            model = make_within(lambda: _deserialized(config), content.count, str(path))
            model.load_weights(plain)
            return model
    except BuildError:
        raise
    except Exception as e:  # Keras raises whatever a damaged part makes it stumble on
        raise BuildError(f"{path}: Keras cannot load it ({first_line(e)})") from None


def _deserialized(config: Any) -> Any:
    """Return the network that a configuration of Keras 3 describes; how it was trained is left out."""
    import keras

    model = keras.saving.deserialize_keras_object({**config, "compile_config": None}, safe_mode=True)
    if not isinstance(model, keras.Model):
        raise ValueError(f"holds a {type(model).__name__}, expected a network")
    return model
