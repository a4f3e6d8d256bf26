"""A bundle that is served: its classifier, and who wants to know what happens to it."""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections.abc import Generator, Sequence
from pathlib import Path

from tlc_edge.runtime.classifier import Classifier
from tlc_edge.runtime.errors import DeviceError
from tlc_edge.runtime.gallery.gallery import Gallery
from tlc_edge.runtime.gallery.records import Change
from tlc_edge.runtime.knn.prediction import Prediction
from tlc_edge.runtime.watch.frames import Frame

from .hub import Hub
from .labelling import Unsorted


class Served:
    """One of the bundles."""

    def __init__(self, name: str, classifier: Classifier, unsorted: Unsorted | None = None) -> None:
        """Take an open classifier, and what keeps pictures to be sorted; `name` is by which paths name it."""
        self.name = name
        self.classifier = classifier
        self.news = Hub()
        self.unsorted = unsorted
        self._looked: Gallery | None = None
        self._looking = threading.Lock()

    @contextlib.contextmanager
    def gallery(self) -> Generator[Gallery | None]:
        """Yield the gallery, to look into it; None where nothing was ever enrolled.

        It is another connection than the one that predictions follow, which do not wait for it.

        Raises:
            GalleryError: it cannot be read.
        """
        with self._looking:
            if self._looked is not None and self._looked.was_replaced():
                self._looked.close()
                self._looked = None
            if self._looked is None:
                self._looked = self._open()
            yield self._looked

    @contextlib.contextmanager
    def own_gallery(self) -> Generator[Gallery | None]:
        """Yield the gallery on a connection of its own, for what takes a while."""
        gallery = self._open()
        try:
            yield gallery
        finally:
            if gallery is not None:
                gallery.close()

    def undo(self, only: int | None) -> Change:
        """Take back the latest change; with `only`, that one and no other. A picture that was sorted comes back.

        Raises:
            GalleryError: as `Classifier.undo`.
        """
        change = None if self.unsorted is None else self.unsorted.undo(only)
        if change is None:
            return self.classifier.undo(only)
        self._tell_queue()
        return change

    def keep_unsure(self, frame: Frame, prediction: Prediction) -> None:
        """Keep a frame for a person to sort, where that is asked for and the answer is unsure."""
        if self.unsorted is not None and self.unsorted.see(frame, prediction):
            self._tell_queue()

    def without_folder(self, text: str) -> str:
        """Return what went wrong without where the gallery lies on this machine, which is nobody's business."""
        folder = self.classifier.gallery_path.parent
        return text if folder == Path() else text.replace(f"{folder}{os.sep}", "")

    def close(self) -> None:
        """Close what is open."""
        with self._looking:
            if self._looked is not None:
                self._looked.close()
                self._looked = None
        self.classifier.close()

    def _tell_queue(self) -> None:
        if self.unsorted is not None:
            with contextlib.suppress(DeviceError):  # what was done is done; who asks for the pictures is told
                self.news.tell("queue", {"pictures": len(self.unsorted.pictures())}, latest=True)

    def _open(self) -> Gallery | None:
        of = self.classifier.bundle.manifest
        return Gallery.open_if_exists(self.classifier.gallery_path, of.fingerprint, of.embedding_width, read_only=True)


def names_of(bundles: Sequence[str]) -> list[str]:
    """Return a name for each bundle, after its file: letters, digits, `.`, `-` and `_`; no two have the same."""
    names: list[str] = []
    for bundle in bundles:
        plain = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(bundle).absolute().name.removesuffix(".tlc"))
        plain = plain.strip(".-") or "bundle"
        name, number = plain, 1
        while name in names:
            number += 1
            name = f"{plain}-{number}"
        names.append(name)
    return names
