"""Which backbones there are, and what loads one: by its name, or by what lies at its path."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tlc_edge.compiler.network.pixels import PIXELS
from tlc_edge.compiler.options import Asked
from tlc_edge.compiler.records import Backbone
from tlc_edge.compiler.weights.pins import from_package
from tlc_edge.runtime.errors import UsageError, unknown_name
from tlc_edge.runtime.files import stand_in

from . import keras_applications, keras_file, onnx_file, own_code, pinned, saved_model, teachable_machine, tfjs
from .refuse import not_taken
from .rows import Row, rows


class Source(Protocol):
    """A module that brings networks of one origin. Only `load` may import TensorFlow."""

    def claims(self, name: str) -> bool:
        """Return whether a name or path is one of its own, good or not."""
        ...

    def check(self, name: str, asked: Asked) -> None:
        """Raise a UsageError where there is no such network, or it does not take what is asked."""
        ...

    def reads(self, name: str, asked: Asked, /) -> list[Path] | None:
        """Return the files that decide, with what is asked, what `load` gives; None where that is not known."""
        ...

    def load(self, name: str, asked: Asked) -> Backbone:
        """Load it with its pretrained weights; raises a BuildError where they cannot be had or used."""
        ...


SOURCES: tuple[Source, ...] = (
    pinned,
    keras_applications,
    own_code,
    saved_model,
    tfjs,
    onnx_file,
    keras_file,
    teachable_machine,
)
"""Where networks come from; the first that claims a name has it."""


def formats_of(source: Source) -> tuple[str, ...]:
    """Return the formats of the model files that can be made of a source's networks; of all but ONNX files, any."""
    return onnx_file.FORMATS if source is onnx_file else ("tflite", "onnx")


_PARTS = ("saved_model.pb", "variables/variables.data-00000-of-00001", "model.json", "weights.bin")
"""Files of a folder that are looked at; those that may be called anything are left to its loader."""


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
    return [
        BackboneInfo(
            name=row.name,
            input=(row.size, row.size, 3),
            parameters=row.parameters,
            width=row.features,
            pretrained_on=row.pretrained_on,
            licence=row.licence,
            source=row.source,
            sha256=row.sha256,
            installed=_installed(row),
        )
        for row in rows().values()
    ]


def _installed(row: Row) -> bool:
    if row.package is not None:
        return from_package(row.files[0]) is not None
    home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    return any((home / "models" / file).is_file() for file in row.files)


def find_backbone(name: str, asked: Asked | None = None) -> Source:
    """Return where a backbone comes from, once it is known to take what is asked; TensorFlow is not loaded.

    Raises:
        UsageError: there is none of that name, or an option is not for it.
    """
    asked = asked or Asked()
    if asked.pixels is not None and asked.pixels not in PIXELS:
        raise unknown_name("pixel range", asked.pixels, PIXELS)
    _check_files(name, asked)
    source = next((source for source in SOURCES if source.claims(name)), None)
    if source is None:
        raise _unclaimed(name)
    source.check(name, asked)
    if asked.weights is not None and not any(Path(p).exists() for p in (asked.weights, f"{asked.weights}.index")):
        raise UsageError(f"--weights {asked.weights}: no such file or checkpoint")
    if asked.input_size is not None and not all(8 <= n <= 2048 for n in asked.input_size):
        raise UsageError(f"--input-size {asked.input_size[0]}x{asked.input_size[1]}: expected 8 to 2048 pixels a side")
    return source


def _check_files(name: str, asked: Asked) -> None:
    """Refuse what lies in the place of a network's files: what Git LFS leaves, or a web page.

    Raises:
        UsageError: there is such.
    """
    for file in (Path(name), *(Path(name, part) for part in _PARTS), Path(asked.weights or name)):
        if file.is_file():
            with file.open("rb") as opened:
                other = stand_in(opened.read(256))
            if other is not None:
                raise UsageError(f"{file}: {other}")


def _unclaimed(name: str) -> UsageError:
    path = Path(name)
    if path.is_dir() or path.is_file():
        return UsageError(f"--backbone {name}: {not_taken(path)}")
    if path.suffix or "/" in name:
        return UsageError(f"--backbone {name}: no such file or folder")
    return unknown_name("backbone", name, rows())


def load_backbone(name: str, asked: Asked | None = None) -> Backbone:
    """Load a backbone with its pretrained weights.

    Raises:
        UsageError: there is no backbone of that name, or an option is not for it.
        BuildError: its weights are missing, damaged or not the pinned ones; the network cannot be used.
    """
    asked = asked or Asked()
    return find_backbone(name, asked).load(name, asked)
