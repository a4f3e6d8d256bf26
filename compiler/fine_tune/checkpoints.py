"""The state of a fine-tuning after each epoch, on disk, so that it can go on where it was stopped."""

from __future__ import annotations

import contextlib
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlc_edge.runtime.errors import BuildError
from tlc_edge.runtime.files import PART, writing

_NAME = re.compile(r"epoch-(\d{4})\.npz")
_FORMAT = 1


@dataclass(frozen=True, eq=False)
class State:
    """All that the next epoch needs."""

    epoch: int
    """Epochs done."""
    weights: list[NDArray[Any]]
    optimizer: list[NDArray[Any]]
    best_epoch: int
    best: list[NDArray[Any]]
    losses: list[float]


class Checkpoints:
    """A folder with one file per epoch; without a folder nothing is kept."""

    def __init__(self, folder: Path | None, recipe: str) -> None:
        self._folder, self._recipe = folder, recipe

    def save(self, state: State) -> None:
        """Write an epoch's file, whole or not at all.

        Raises:
            BuildError: it cannot be written.
        """
        if self._folder is None:
            return
        path = self._folder / f"epoch-{state.epoch:04}.npz"
        arrays: dict[str, Any] = {
            "recipe": np.array(f"{_FORMAT} {self._recipe}"),
            "epochs": np.array([state.epoch, state.best_epoch]),
            "losses": np.array(state.losses),
        }
        for name, values in (("weights", state.weights), ("optimizer", state.optimizer), ("best", state.best)):
            arrays[f"{name}/count"] = np.array(len(values))
            arrays.update({f"{name}/{i}": value for i, value in enumerate(values)})
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with writing(path) as file:
                np.savez(file, **arrays)
        except OSError as e:
            raise BuildError(
                f"{path}: the checkpoint cannot be written ({e.strerror or e}); choose another --checkpoints"
            ) from None

    def load(self) -> State:
        """Return the last whole state of this training; what is damaged or of another one is passed over.

        Raises:
            BuildError: there is none.
        """
        folder = self._folder
        names = (
            sorted((p for p in folder.iterdir() if _NAME.fullmatch(p.name)), reverse=True)
            if (folder is not None and folder.is_dir())
            else []
        )
        foreign: Path | None = None
        for path in names:
            try:
                # Opened here: numpy leaves a file that is no archive open.
                with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                    if str(file["recipe"]) == f"{_FORMAT} {self._recipe}":
                        return _unpack(file)
                    foreign = foreign or path
            except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
                continue
        if foreign is not None:
            raise BuildError(
                f"--resume: {foreign} is of another training (other images, backbone, layers, seed or learning rate), "
                "and no other checkpoint is of this one; give the same options as then, or leave --resume out"
            )
        raise BuildError(f"--resume: no checkpoint in {folder}; leave --resume out to begin anew")


def remove_checkpoints(folder: Path) -> None:
    """Remove what was kept, and the folder if nothing else is in it."""
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        if _NAME.fullmatch(path.name) or path.suffix == PART:
            path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder.rmdir()


def _unpack(file: Any) -> State:
    def values(name: str) -> list[NDArray[Any]]:
        return [file[f"{name}/{i}"] for i in range(int(file[f"{name}/count"]))]

    epoch, best_epoch = (int(n) for n in file["epochs"])
    losses = [float(v) for v in file["losses"]]
    return State(epoch, values("weights"), values("optimizer"), best_epoch, values("best"), losses)
