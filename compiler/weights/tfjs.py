"""A TensorFlow.js Layers model, `model.json` and its shards, read without Node.js.

Format: TensorFlow.js, "Saving and loading models"; weights manifest with quantization as the
`tensorflowjs` converter writes it. The `tensorflowjs` package itself is not used: it asks for jax, flax,
tf-keras and TensorFlow Decision Forests, and the last of these does not exist for the current TensorFlow.
"""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlc_edge.runtime.errors import BuildError, first_line

from .by_name import assign_by_name
from .extent import LONGEST_TEXT
from .keras_config import network_from_config

_DTYPES = {"float32": "<f4", "float16": "<f2", "int32": "<i4", "uint8": "|u1", "uint16": "<u2", "bool": "|u1"}


def load_tfjs(path: Path) -> tuple[Any, str]:
    """Return a Keras model with its weights, and the SHA-256 of `model.json` and the shards in its order.

    Raises:
        BuildError: it is no Layers model, carries code, or a shard is missing, too short or too long.
    """
    data = _read(path, path)
    digest = hashlib.sha256(data)
    try:
        document: Any = json.loads(data)
        if isinstance(document, dict) and "class_name" in document and "modelTopology" not in document:
            raise BuildError(
                f"{path}: the layers of a network without its weights, as to_json() of Keras writes them; save the "
                "network whole, as .keras"
            )
        topology, manifest = document["modelTopology"], document["weightsManifest"]
        if document.get("format") == "graph-model" or "node" in topology:
            raise BuildError(
                f"{path}: a graph model, which has no layers to cut at; convert the original network "
                "to a Layers model (tf.keras, tfjs.converters.save_keras_model)"
            )
        major = _keras_version(topology)
        topology = topology.get("model_config", topology)
        topology = json.loads(topology) if isinstance(topology, str) else topology
        arrays: dict[str, NDArray[Any]] = {}
        seen: set[Path] = set()
        for group in manifest:
            _read_group(path, group, arrays, digest, seen)
    except (ValueError, LookupError, ArithmeticError, TypeError, AttributeError, RecursionError) as e:
        raise BuildError(
            f"{path}: not a TensorFlow.js Layers model, or a damaged one ({type(e).__name__}: {first_line(e)})"
        ) from None
    model, renamed = network_from_config(topology, str(path), major, sum(a.size for a in arrays.values()))
    assign_by_name(model, arrays, str(path), renamed=renamed)
    return model, digest.hexdigest()


def _keras_version(topology: Any) -> int:
    version = str(topology.get("keras_version") or "2").removeprefix("tfjs-layers ")
    # What TensorFlow.js itself saves bears its own number, and means what Keras 2 meant.
    is_js = str(topology.get("keras_version", "")).startswith("tfjs")
    return 2 if is_js or not version[:1].isdigit() else int(version.split(".")[0])


def _read(path: Path, model: Path) -> bytes:
    try:
        if path.exists() and not path.is_file():  # a pipe that nobody writes to would be waited for
            raise BuildError(f"{path}: not a file")
        if path == model and path.stat().st_size > LONGEST_TEXT:
            raise BuildError(f"{path}: longer than {LONGEST_TEXT:,} bytes, so no network's configuration")
        return path.read_bytes()
    except FileNotFoundError:
        if path == model:
            raise BuildError(f"{path}: no such file") from None
        raise BuildError(f"{model}: its shard {path.name} is missing; copy all the files that belong to it") from None
    except OSError as e:
        raise BuildError(f"{path}: cannot be read ({e.strerror or e})") from None


def _read_group(path: Path, group: Any, arrays: dict[str, NDArray[Any]], digest: Any, seen: set[Path]) -> None:
    """Read a group of weights, whose bytes run on through its shards."""
    names: list[str] = [str(p) for p in group["paths"]]
    pieces: list[bytes] = []
    for name in names:
        shard = path.parent / name
        if Path(name).is_absolute() or not shard.resolve().is_relative_to(path.parent.resolve()):
            raise BuildError(f"{path}: its shard {name[:60]!r} lies outside its folder; it was refused")
        if shard in seen:  # a small file that is read a million times is a large one
            raise BuildError(f"{path}: names its shard {name[:60]!r} twice; it was refused")
        seen.add(shard)
        pieces.append(_read(shard, path))
        digest.update(pieces[-1])
    data = memoryview(b"".join(pieces))
    start = 0
    for entry in group["weights"]:
        array, size = _array(entry, data[start:])
        if array is None:
            raise BuildError(
                f"{path}: {', '.join(names)} too short: {len(data)} bytes, {entry['name']} needs those "
                f"from {start} to {start + size}; copy the file again"
            )
        arrays[str(entry["name"])] = array
        start += size
    if start != len(data):
        raise BuildError(
            f"{path}: {', '.join(names)} too long: {len(data)} bytes, expected {start}; copy the file again"
        )


def _array(entry: Any, data: memoryview) -> tuple[NDArray[Any] | None, int]:
    """Return an array and its bytes' number; None where `data` is too short. Quantized ones are restored."""
    shape = tuple(int(n) for n in entry["shape"])
    quantization: Any = entry.get("quantization")
    dtype = _DTYPES[quantization["dtype"] if quantization else entry["dtype"]]
    if min(shape, default=0) < 0:
        raise ValueError(f"the shape {list(shape[:8])}")
    count = math.prod(shape)
    size = count * np.dtype(dtype).itemsize
    if len(data) < size:
        return None, size
    array = np.frombuffer(data, dtype, count).reshape(shape)
    if quantization and quantization["dtype"] != "float16":
        array = array.astype(np.float64) * float(quantization["scale"]) + float(quantization["min"])
    return array.astype(np.float32), size
