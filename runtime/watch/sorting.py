"""Pictures of a folder sorted into classes: each is enrolled, and goes into a folder of the class's name.

So what was sorted is a data set for the next build too, a folder per class.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from pathlib import Path

from tlc_edge.runtime.classifier import Classifier
from tlc_edge.runtime.errors import DeviceError, GalleryError, UsageError
from tlc_edge.runtime.gallery.records import Change
from tlc_edge.runtime.images.load import source_name
from tlc_edge.runtime.labels import clean_label


@dataclass(frozen=True)
class _Sorted:
    came_from: Path
    lies_at: Path
    change: Change


class Sorting:
    """The pictures that lie in a folder itself; those in folders inside it are sorted already."""

    def __init__(self, classifier: Classifier, folder: Path) -> None:
        """Look through the folder.

        Raises:
            DeviceError: it cannot be read.
        """
        self._classifier, self._folder = classifier, folder
        self._done: list[_Sorted] = []
        try:
            found = [p for p in folder.iterdir() if not p.name.startswith(".") and p.is_file()]
        except (OSError, ValueError) as e:
            why = getattr(e, "strerror", None) or e
            raise DeviceError(f"{source_name(folder)}: {why}; give a folder of images") from None
        self.pictures = sorted(found)
        """Oldest first, by their names, as the watcher gives them."""

    @property
    def counts(self) -> dict[str, int]:
        """How many pictures went to each class by now."""
        labels = [one.change.label for one in self._done]
        return {label: labels.count(label) for label in sorted(set(labels))}

    def sort(self, picture: Path, label: str) -> Change:
        """Enroll a picture, then put it into its class's folder.

        Raises:
            ImageError: it cannot be read.
            UsageError: the label cannot be used.
            GalleryError: the gallery cannot be written.
            DeviceError: it is enrolled, and could not be moved.
        """
        change = self._classifier.enroll(clean_label(label), picture)
        try:
            target = self._place(picture, change.label)
            picture.rename(target)
        except OSError as e:
            raise DeviceError(
                f"{source_name(picture)}: is enrolled as {change.label!r}, but stays where it is ({e.strerror or e})"
            ) from None
        self._done.append(_Sorted(picture, target, change))
        return change

    def undo(self) -> Path:
        """Take back the latest sorting of these, in the gallery and in the folder; return the picture.

        Raises:
            UsageError: none is left.
            GalleryError: the gallery changed since, so what `sort` did is not the latest change any more.
            DeviceError: the picture is not there any more.
        """
        if not self._done:
            raise UsageError("nothing was sorted yet; `tlc undo` takes back what was taught before")
        last = self._done[-1]
        if last.change.operation:
            self._classifier.undo(last.change.operation)
        self._done.pop()
        try:
            _bring_back(last)
        except OSError as e:
            raise DeviceError(f"{source_name(last.lies_at)}: {e.strerror or e}; it is not enrolled any more") from None
        return last.came_from

    def undo_change(self, only: int | None = None) -> Change | None:
        """Undo the latest change of the gallery where sorting one of these made it; None where it was another.

        With `only`, the number of an operation, it must be that one. The picture is to be sorted again, if it is still
        where it was put.
        """
        last = next((one for one in reversed(self._done) if one.change.operation), None)
        if last is None or only not in (None, last.change.operation):
            return None
        try:
            change = self._classifier.undo(last.change.operation)
        except GalleryError:  # something else was changed since, or nothing can be: who undoes that is told
            return None
        self._done.remove(last)
        with contextlib.suppress(OSError):
            _bring_back(last)
        return change

    def _place(self, picture: Path, label: str) -> Path:
        folder = self._folder / class_folder(label)
        folder.mkdir(mode=0o700, exist_ok=True)
        target, number = folder / picture.name, 0
        while target.exists():
            number += 1
            target = folder / f"{picture.stem}-{number}{picture.suffix}"
        return target


def _bring_back(done: _Sorted) -> None:
    done.lies_at.rename(done.came_from)
    with contextlib.suppress(OSError):  # there is more in it
        done.lies_at.parent.rmdir()


def class_folder(label: str) -> str:
    """Return a class's name as that of a folder: `/`, and a point at its beginning, are written as in an address."""
    return re.sub(r"^\.|/", lambda found: f"%{ord(found[0]):02X}", label)
