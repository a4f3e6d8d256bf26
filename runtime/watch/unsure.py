"""A folder of what the watcher was unsure of, for a person to sort later: bounded, and for its owner's eyes alone."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from tlc_edge.runtime.classifier import Classifier
from tlc_edge.runtime.errors import DeviceError, ImageError
from tlc_edge.runtime.files import write_file
from tlc_edge.runtime.images.load import source_name
from tlc_edge.runtime.knn.prediction import Prediction

from .distinct import Distinct
from .frames import Frame
from .picture import jpeg
from .save_bounds import MOST, MOST_MEGABYTES

_LEAD = 0.25
"""The best class's share less the second's, under which an answer is unsure; the self-test asks for as much."""
_PAUSE = 1.0
"""Seconds between two pictures of a camera: what stays in front of it is one thing."""
_SIDE, _QUALITY = 1280, 90
_OURS = re.compile(r"\d{8}T\d{6}\.\d{3}Z(-\d+)?\.jpg")


class Unsure:
    """Keeps the pictures; where there are too many, the oldest give way. Nothing else in the folder is touched."""

    def __init__(
        self,
        folder: Path,
        classifier: Classifier,
        note: Callable[[str], None],
        *,
        most: int = MOST,
        most_bytes: int = MOST_MEGABYTES * 1_000_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make the folder where it is not there; `note` is told of what hinders later on, once each time.

        Raises:
            DeviceError: it cannot be made, or nothing can be written there.
        """
        self._folder, self._classifier, self._note = folder, classifier, note
        self._most, self._most_bytes, self._clock = most, most_bytes, clock
        self._distinct = Distinct(classifier)
        self._due = float("-inf")
        self._failed = self._full = False
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            trial = folder / ".tlc.part"
            write_file(trial, b"", private=True)
            trial.unlink()
        except (OSError, ValueError) as e:
            why = getattr(e, "strerror", None) or e
            raise DeviceError(f"{source_name(folder)}: {why}; choose a folder that can be written to") from None

    def see(self, frame: Frame, prediction: Prediction) -> Path | None:
        """Keep a frame's picture where its answer is unknown or unsure and it repeats no kept one; return its file."""
        if not unsure(prediction):
            return None
        if frame.name is None:
            now = self._clock() if frame.seconds is None else frame.seconds
            if now < self._due:
                return None
            self._due = now + _PAUSE
        try:
            if not self._distinct.take(frame.image, frame.order):
                return None
            data = jpeg(frame, self._classifier.bundle.manifest.preprocessing, _SIDE, _QUALITY)
            path = self._free_name()
            write_file(path, data, private=True)
            self._make_room()
        except ImageError:
            return None
        except OSError as e:
            if not self._failed:
                self._note(f"{self._folder}: {e.strerror or e}; pictures of what is unknown are not kept")
            self._failed = True
            return None
        self._failed = False
        return path

    def _free_name(self) -> Path:
        stem = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")[:-3] + "Z"
        path, number = self._folder / f"{stem}.jpg", 0
        while path.exists():
            number += 1
            path = self._folder / f"{stem}-{number}.jpg"
        return path

    def _make_room(self) -> None:
        """Remove the oldest of our pictures until the rest is within the bounds; the newest stays in any case."""
        held = kept_pictures(self._folder)
        count, size = len(held), sum(s for _, s in held)
        for name, taken in held[:-1]:
            if count <= self._most and size <= self._most_bytes:
                return
            if not self._full:
                self._full = True
                self._note(f"{self._folder}: full; the oldest pictures give way, `tlc label` makes room")
            (self._folder / name).unlink(missing_ok=True)
            count, size = count - 1, size - taken


def kept_pictures(folder: Path) -> list[tuple[str, int]]:
    """Return the names and sizes of the pictures that are kept in a folder, oldest first.

    Raises:
        OSError: it cannot be read.
    """
    found: list[tuple[str, int]] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):  # another thread or process took it away meanwhile
                if is_kept_picture(entry.name) and entry.is_file():
                    found.append((entry.name, entry.stat().st_size))
    return sorted(found)


def is_kept_picture(name: str) -> bool:
    """Return whether a file's name is one that pictures get here."""
    return _OURS.fullmatch(name) is not None


def unsure(prediction: Prediction) -> bool:
    """Return whether an answer is unknown, or its best class leads the second by less than a quarter."""
    best = [r.score for r in prediction.ranked[:2]]
    return prediction.unknown or (len(best) == 2 and best[0] - best[1] < _LEAD)
