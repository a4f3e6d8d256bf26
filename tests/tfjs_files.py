"""A network in a folder, as the TensorFlow.js converter writes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np


def write_tfjs(model: Any, folder: Path) -> None:
    """Write a network as the TensorFlow.js converter does."""
    folder.mkdir()
    data, specs = b"", []
    for variable in model.weights:
        array = np.asarray(variable)
        array = array.astype(np.int32 if array.dtype.kind == "i" else np.float32)
        specs.append({"name": variable.path, "shape": list(array.shape), "dtype": str(array.dtype)})
        data += array.tobytes()
    (folder / "shard.bin").write_bytes(data)
    topology = {"keras_version": "3.0", "model_config": json.loads(model.to_json())}
    manifest = [{"paths": ["shard.bin"], "weights": specs}]
    (folder / "model.json").write_text(
        json.dumps({"format": "layers-model", "modelTopology": topology, "weightsManifest": manifest})
    )
