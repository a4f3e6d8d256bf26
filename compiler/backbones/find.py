"""Which backbones there are, and what loads one: by its name, or by what lies at its path."""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from tlc_edge.compiler.network.pixels import PIXELS
from tlc_edge.compiler.options import Asked
from tlc_edge.compiler.records import Backbone, Provenance
from tlc_edge.compiler.weights.pins import from_package
from tlc_edge.runtime.errors import UsageError, unknown_name

from . import keras_applications, saved_model, torchvision_mobilenet
from .efficientnet_lite import LITE, load_lite
from .own_code import check_restore, load_own_network, split_python_name

_KERAS_FILES = (".keras", ".h5", ".hdf5")


@dataclass(frozen=True)
class BackboneInfo:
    """A row of `tlc backbones`, known without loading anything."""

    name: str
    input: tuple[int, int, int]
    parameters: int
    """Of the trunk at the default shave, batch norms folded."""
    width: int
    """Pooled features."""
    pretrained_on: str
    licence: str
    source: str
    sha256: str | None
    """Of the weights' file, where it is pinned here; those of keras.applications Keras pins itself."""
    installed: bool
    """Whether the weights are on this machine."""


def backbones() -> list[BackboneInfo]:
    """Return what `--backbone` takes by name; files, folders and own code come on top of these."""
    text = (resources.files(__package__ or "tlc_edge.compiler") / "backbones.toml").read_text("utf-8")
    return [_info(name, row) for name, row in tomllib.loads(text).items()]


def _info(name: str, row: dict[str, Any]) -> BackboneInfo:
    pin = LITE[name].sha256 if name in LITE else torchvision_mobilenet.SHA256
    keras = name.startswith(keras_applications.PREFIX)
    return BackboneInfo(
        name=name,
        input=(row["size"], row["size"], 3),
        parameters=row["parameters"],
        width=row["features"],
        pretrained_on=row["pretrained_on"],
        licence=row["licence"],
        source=row["source"],
        sha256=None if keras else pin,
        installed=_keras_has(row["files"]) if keras else from_package(row["files"][0]) is not None,
    )


def _keras_has(files: list[str]) -> bool:
    home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    return any((home / "models" / file).is_file() for file in files)


def find_backbone(name: str, asked: Asked | None = None) -> None:
    """Check that there is a backbone of that name, and that it takes what is asked, before TensorFlow is loaded.

    Raises:
        UsageError: there is none, or an option is not for it.
    """
    asked = asked or Asked()
    if asked.pixels is not None and asked.pixels not in PIXELS:
        raise unknown_name("pixel range", asked.pixels, PIXELS)
    kind = _kind(name)
    if kind == "keras application":
        keras_applications.check_application(name, asked)
    elif asked.alpha is not None:
        raise UsageError(f"--alpha is for keras:NAME; {name} comes in one width")
    if kind in ("pinned", "keras application") and asked.pixels is not None:
        raise UsageError(f"--pixels is for files; what {name} was trained on is known")
    if kind not in ("own code", "keras application") and asked.weights is not None:
        raise UsageError(f"--weights is for keras:NAME and FILE.py:FUNCTION; {name} brings its own")
    if kind != "own code" and asked.restore:
        raise UsageError(f"--restore is for FILE.py:FUNCTION with a checkpoint; {name} has all of its weights")
    check_restore(asked)
    if asked.weights is not None and not any(Path(p).exists() for p in (asked.weights, f"{asked.weights}.index")):
        raise UsageError(f"--weights {asked.weights}: no such file or checkpoint")
    if asked.input_size is not None and not all(8 <= n <= 2048 for n in asked.input_size):
        raise UsageError(f"--input-size {asked.input_size[0]}x{asked.input_size[1]}: expected 8 to 2048 pixels a side")


def _kind(name: str) -> str:
    """Return which of the sources a name belongs to.

    Raises:
        UsageError: none.
    """
    path = Path(name)
    if name in LITE or name == torchvision_mobilenet.NAME:
        return "pinned"
    if name.startswith(keras_applications.PREFIX):
        return "keras application"
    own = split_python_name(name)
    if own is not None:
        if not own[0].is_file():
            raise UsageError(f"--backbone {name}: no file {own[0]}")
        return "own code"
    if path.is_dir():
        if (path / saved_model.FILE).is_file():
            return "saved model"
        if (path / "model.json").is_file():
            return "tfjs"
        raise UsageError(f"--backbone {name}: a folder without {saved_model.FILE} (SavedModel) or model.json (tfjs)")
    if path.is_file():
        if path.suffix.lower() in _KERAS_FILES:
            return "keras file"
        if path.suffix.lower() == ".json":
            return "tfjs"
        if path.name == saved_model.FILE:
            return "saved model"
        raise UsageError(f"--backbone {name}: {_advice(path)}")
    if path.suffix or "/" in name:
        raise UsageError(f"--backbone {name}: no such file or folder")
    known = [*LITE, torchvision_mobilenet.NAME, *(f"keras:{n}" for n in keras_applications.APPLICATIONS)]
    raise unknown_name("backbone", name, known)


def _advice(path: Path) -> str:
    if path.suffix in (".pth", ".pt", ".ckpt", ".bin"):
        return "weights without a network; export it from PyTorch as a SavedModel or a Keras file first"
    if path.suffix == ".onnx":
        return "ONNX files are not taken; export the network as a SavedModel or a Keras file from where it was made"
    if path.suffix == ".py":
        return f"name the function that makes the network, {path}:make_model"
    if path.suffix == ".tflite":
        return "a lowered model, which cannot be cut; name the network that it was made from"
    return "expected .keras, .h5, model.json, a SavedModel folder or FILE.py:FUNCTION"


def load_backbone(name: str, asked: Asked | None = None) -> Backbone:
    """Load a backbone with its pretrained weights.

    Raises:
        UsageError: there is no backbone of that name, or an option is not for it.
        BuildError: its weights are missing, damaged or not the pinned ones; the network cannot be used.
    """
    asked = asked or Asked()
    find_backbone(name, asked)
    kind = _kind(name)
    if name in LITE:
        return load_lite(name, asked.input_size)
    if kind == "pinned":
        return torchvision_mobilenet.load_mobilenet_v2(asked.input_size)
    if kind == "keras application":
        return keras_applications.load_application(name, asked)
    if kind == "saved model":
        folder = Path(name) if Path(name).is_dir() else Path(name).parent
        return saved_model.load_saved_model(folder.resolve().name, folder, asked)
    if kind == "own code":
        return load_own_network(name, asked)
    return _load_file(name, kind, asked)


def _load_file(name: str, kind: str, asked: Asked) -> Backbone:
    from tlc_edge.compiler.weights.keras_file import load_keras_file
    from tlc_edge.compiler.weights.tfjs import load_tfjs

    from .adopt import adopt

    path = Path(name)
    # A bundle bears the file's own name: where it lay on this machine is nobody's business.
    if kind == "tfjs":
        path = path / "model.json" if path.is_dir() else path
        model, digest = load_tfjs(path)
        short = path.resolve().parent.name if path.name == "model.json" else path.stem
    else:
        model, digest = load_keras_file(path)
        short = path.stem
    return adopt(short, model, asked, Provenance(path.name, digest, "unknown", "unknown"))
