"""What Teachable Machine exports, as it is: the zip of Keras (keras_model.h5, labels.txt), and that of TensorFlow.js
(model.json, metadata.json, weights.bin); the first unpacked too."""

from __future__ import annotations

import tempfile
import zipfile
from dataclasses import replace
from pathlib import Path, PurePosixPath

from tlc_edge.compiler.options import Asked
from tlc_edge.compiler.records import Backbone
from tlc_edge.runtime.errors import BuildError, UsageError, first_line
from tlc_edge.runtime.zip_damage import ZIP_DAMAGE

from . import keras_file, tfjs
from .own_labels import BESIDE, label_files
from .refuse import refuse

KERAS = "keras_model.h5"
_NETWORKS = (KERAS, tfjs.FILE)
# What its networks are trained on: https://github.com/googlecreativelab/teachablemachine-community, snippets for Keras.
_PIXELS = "-1..1"
_LARGEST = 500_000_000


def claims(name: str) -> bool:
    """Return whether a path is a zip, or a folder with the network of one."""
    path = Path(name)
    if path.is_dir():
        return (path / KERAS).is_file()
    return path.is_file() and path.suffix.lower() == ".zip"


def check(name: str, asked: Asked) -> None:
    """Refuse a zip without a network, and what the file brings along.

    Raises:
        UsageError: there is none in it, or an option is not for it.
    """
    refuse(name, asked, takes=("pixels",))
    path = Path(name)
    if path.is_file() and not _members(path):
        raise UsageError(
            f"--backbone {name}: a zip without {' or '.join(_NETWORKS)}, which Teachable Machine's have; unpack it and "
            "name the network's file"
        )


def reads(name: str, _asked: Asked) -> list[Path] | None:
    """Return the zip, or the network's file with those of labels beside it."""
    return [Path(name) / KERAS, *label_files(name)] if Path(name).is_dir() else [Path(name)]


def load(name: str, asked: Asked) -> Backbone:
    """Load the network.

    Raises:
        BuildError: it is damaged, carries code, or cannot be used.
    """
    from .own_labels import labels_beside

    asked = replace(asked, pixels=asked.pixels or _PIXELS)
    path = Path(name)
    if path.is_dir():
        found, labels = keras_file.load(str(path / KERAS), asked), labels_beside(name)
    else:
        with tempfile.TemporaryDirectory(prefix="tlc-") as folder:
            network = _unpack(path, _members(path), Path(folder))
            source = keras_file if network.name == KERAS else tfjs
            found, labels = source.load(str(network), asked), labels_beside(folder)
    return replace(found, name=path.resolve().stem, labels=labels)


def _members(path: Path) -> dict[str, str]:
    """Return what a zip holds of a network, by the names of files: the path in the zip; empty where it holds none."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [n for n in archive.namelist() if not n.startswith("__MACOSX/")]
    except ZIP_DAMAGE:
        return {}
    network = next((n for wanted in _NETWORKS for n in names if PurePosixPath(n).name == wanted), None)
    if network is None:
        return {}
    folder = PurePosixPath(network).parent
    beside = [PurePosixPath(n) for n in names if PurePosixPath(n).parent == folder]
    kept = [p for p in beside if p.name in (PurePosixPath(network).name, *BESIDE) or p.suffix == ".bin"]
    return {p.name: str(p) for p in kept}


def _unpack(path: Path, members: dict[str, str], folder: Path) -> Path:
    """Write the members of a zip into a folder, flat; returns the network's file."""
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(archive.getinfo(m).file_size for m in members.values()) > _LARGEST:
                raise BuildError(f"{path}: unpacks to more than {_LARGEST:,} bytes; it was refused")
            for name, member in members.items():
                with (folder / name).open("xb") as out:
                    out.write(archive.read(member))
    except (*ZIP_DAMAGE, KeyError, RuntimeError) as e:  # the last: it is locked with a password
        raise BuildError(f"{path}: a damaged zip ({first_line(e)}); export it again") from None
    return folder / next(n for n in _NETWORKS if n in members)
