"""What was unknown or unsure lately, to be sorted by a tap: pictures in a folder, bounded and for its owner's eyes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tlc_edge.runtime.classifier import Classifier
from tlc_edge.runtime.errors import DeviceError
from tlc_edge.runtime.gallery.records import Change
from tlc_edge.runtime.knn.prediction import Prediction
from tlc_edge.runtime.watch.frames import Frame
from tlc_edge.runtime.watch.sorting import Sorting
from tlc_edge.runtime.watch.unsure import Unsure, is_kept_picture, kept_pictures, unsure


class Unsorted:
    """The pictures of one bundle. Sorted ones lie in a folder per class beside them, a data set for the next build."""

    def __init__(
        self, folder: Path, classifier: Classifier, say: Callable[[str], None], most: int, most_bytes: int
    ) -> None:
        """Make the folder where it is not there.

        Raises:
            DeviceError: nothing can be written there.
        """
        self.most = most
        self._folder = folder
        self._unsure = Unsure(folder, classifier, say, most=most, most_bytes=most_bytes)
        self._keeping = threading.Lock()
        self._sorting = threading.Lock()
        self._sorted = Sorting(classifier, folder)

    def see(self, frame: Frame, prediction: Prediction) -> bool:
        """Keep a frame that is unknown or unsure and repeats none; return whether it was kept.

        Where another is being kept just now, it is let go: the next one comes soon.
        """
        if not unsure(prediction) or not self._keeping.acquire(blocking=False):
            return False
        try:
            return self._unsure.see(frame, prediction) is not None
        finally:
            self._keeping.release()

    def pictures(self) -> list[dict[str, Any]]:
        """Return what is kept, oldest first.

        Raises:
            DeviceError: the folder cannot be read.
        """
        try:
            return [{"id": name, "at": _time(name), "bytes": size} for name, size in kept_pictures(self._folder)]
        except OSError as e:
            raise DeviceError(f"the pictures to sort cannot be read ({e.strerror or e})") from None

    def read(self, picture: str) -> bytes | None:
        """Return a picture, None where there is none of this name."""
        path = self._path(picture)
        try:
            return None if path is None else path.read_bytes()
        except OSError:
            return None

    def sort(self, picture: str, label: str) -> Change | None:
        """Enroll a picture and put it into its class's folder; None where it is not there any more.

        Raises:
            ImageError, UsageError, GalleryError, DeviceError: as `Sorting.sort`.
        """
        with self._sorting:
            path = self._path(picture)
            return None if path is None else self._sorted.sort(path, label)

    def undo(self, only: int | None) -> Change | None:
        """Undo the latest change where it sorted a picture, which is to be sorted again; None where it was another."""
        with self._sorting:
            return self._sorted.undo_change(only)

    def discard(self, picture: str) -> bool:
        """Delete a picture; return whether it was there."""
        with self._sorting:
            path = self._path(picture)
            if path is None:
                return False
            path.unlink(missing_ok=True)
            return True

    def _path(self, picture: str) -> Path | None:
        """Return where a picture lies: only the names that the watcher gives are looked for."""
        path = self._folder / picture if is_kept_picture(picture) else None
        return path if path is not None and path.is_file() and not path.is_symlink() else None


def _time(name: str) -> str:
    stamp = datetime.strptime(name[:19] + "+0000", "%Y%m%dT%H%M%S.%f%z")
    return stamp.astimezone(UTC).isoformat(timespec="milliseconds")
