"""The device's own camera, for all viewers: each frame is read once, and each bundle looks at it once."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Generator, Iterable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tlc_edge.runtime.bundle.manifest import Preprocessing
from tlc_edge.runtime.errors import DeviceError, TlcError
from tlc_edge.runtime.knn.prediction import Prediction
from tlc_edge.runtime.watch.camera import is_video_file
from tlc_edge.runtime.watch.frames import Frame, Gap, Watched, is_folder, open_frames
from tlc_edge.runtime.watch.picture import jpeg

from .hub import Hub
from .served import Served

EVERY = 0.1
"""Seconds between two frames, where nobody says otherwise."""
_SIDE, _QUALITY = 1280, 80


class Shot:
    """One frame."""

    def __init__(self, number: int, frame: Frame, spec: Preprocessing) -> None:
        self.number = number
        self.frame = frame
        self.time = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._spec = spec
        self._jpeg: bytes | None = None
        self._making = threading.Lock()

    def jpeg(self) -> bytes:
        """Return it as a JPEG, which is made once for all who want it.

        Raises:
            ImageError: it cannot be read.
        """
        with self._making:
            if self._jpeg is None:
                self._jpeg = jpeg(self.frame, self._spec, _SIDE, _QUALITY)
            return self._jpeg


class Live:
    """A camera that is read in a thread of its own."""

    def __init__(self, where: str, every: float, bundles: Iterable[Served]) -> None:
        """Open it: whatever `tlc watch` takes. A video is shown as fast as it was filmed, again and again.

        Raises:
            DeviceError: there is no such thing, it cannot be opened, or OpenCV is missing.
        """
        self._bundles = list(bundles)
        self._spec = self._bundles[0].classifier.bundle.manifest.preprocessing
        self._where, self._every = where, every
        self._folder = f"{Path(where).parent}{os.sep}" if is_folder(where) else "\0"
        """Where what is watched lies on this machine, which is nobody's business."""
        self._watched: Watched = open_frames(where, 0.0 if is_video_file(where) else every)
        self.text = self._watched.text
        """What is watched, for the person."""
        self.pictures = Hub()
        """Who wants every frame's picture."""
        self.latest: Shot | None = None
        self.seen = 0
        """Frames by now."""
        self.looked = 0
        """Answers by now, of all bundles."""
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="look", daemon=True)

    def start(self) -> None:
        """Begin to read it."""
        self._thread.start()

    def close(self) -> None:
        """Let go of it. A camera that gives no frame is not waited for."""
        self._ending.set()
        self._thread.join(timeout=3)

    def shot(self) -> Shot:
        """Return the latest frame.

        Raises:
            DeviceError: there was none yet, or the camera is gone since.
        """
        latest = self.latest
        if latest is None:
            raise DeviceError("the camera gives no picture just now; try again in a moment")
        return latest

    def _run(self) -> None:
        with closing(self._frames()) as frames:
            for item in frames:
                if self._ending.is_set():
                    return
                if isinstance(item, Gap):
                    if not item.is_there:
                        self.latest = None  # what it saw then is not what it sees now, to be learned
                    self._tell({"is_there": item.is_there, "text": item.text.replace(self._folder, "")})
                    continue
                self.seen = number = self.seen + 1
                self.latest = shot = Shot(number, item, self._spec)
                self.pictures.tell("picture", shot, latest=True)
                for served in self._bundles:
                    self._look(served, shot)

    def _look(self, served: Served, shot: Shot) -> None:
        """Have a bundle say what is on a frame, where somebody wants to know."""
        if not served.news.count and served.unsorted is None:
            return
        try:
            prediction = served.classifier.predict(shot.frame.image, shot.frame.order)
            self.looked += 1
            served.news.tell("answer", _answer(shot, prediction), latest=True)
            served.keep_unsure(shot.frame, prediction)
        except TlcError as e:  # no image, or a gallery without a class: the next frame may have one
            served.news.tell("camera", {"is_there": True, "text": served.without_folder(str(e))}, latest=True)

    def _tell(self, document: dict[str, Any]) -> None:
        for served in self._bundles:
            served.news.tell("camera", document, latest=True)

    def _frames(self) -> Generator[Frame | Gap]:
        if not is_video_file(self._where):
            yield from self._watched.frames
            return
        frames = self._watched.frames
        while True:
            start, due = time.monotonic(), 0.0
            with closing(frames):
                for item in frames:
                    seconds = item.seconds if isinstance(item, Frame) and item.seconds is not None else 0.0
                    if seconds < due:
                        continue
                    due = seconds + self._every
                    if self._ending.wait(max(0.0, start + seconds - time.monotonic())):
                        return
                    yield item
            if self._ending.wait(max(self._every, EVERY)):
                return
            try:
                frames = open_frames(self._where).frames
            except DeviceError as e:
                yield Gap(str(e))
                frames = _none()


def _none() -> Generator[Frame | Gap]:
    yield from ()


def _answer(shot: Shot, prediction: Prediction) -> dict[str, Any]:
    return {"frame": shot.number, "time": shot.time, "prediction": prediction.document(f"frame {shot.number}")}
