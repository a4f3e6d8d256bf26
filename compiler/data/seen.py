"""What a build has seen of its images: each is read and decoded once, for all steps, as far as memory allows."""

from __future__ import annotations

import hashlib
import threading

import numpy as np
from numpy.typing import NDArray

from .records import Sample
from .views import PLAIN, View


class Seen:
    """The SHA-256 of each sample that was read, and the pixels of some; for any number of threads."""

    def __init__(self, room: int = 0) -> None:
        """Keep pixels, up to `room` bytes of them."""
        self._room = room
        self._digests: dict[Sample, bytes] = {}  # not by name, which is unique in one data set only
        self._pixels: dict[tuple[Sample, str], NDArray[np.uint8]] = {}  # by the view's id, too
        self._lock = threading.Lock()

    def digest(self, sample: Sample) -> bytes | None:
        """Return the SHA-256 of an image's file, or of its pixels where it has none; None where it was not read."""
        return self._digests.get(sample)

    def pixels(self, sample: Sample) -> NDArray[np.uint8] | None:
        """Return an image as the device would see it, uint8 [H, W, C], where it was kept; treat it as read-only."""
        return self._pixels.get((sample, PLAIN.id))

    def take(self, sample: Sample, view: View) -> NDArray[np.uint8] | None:
        """Return an image as a view shows it, where it was kept; a changed one is forgotten then: it has served."""
        if view is PLAIN:
            return self.pixels(sample)
        with self._lock:
            pixels = self._pixels.pop((sample, view.id), None)
            self._room += 0 if pixels is None else pixels.nbytes
        return pixels

    def note(self, sample: Sample, digest: bytes) -> None:
        """Say what an image's SHA-256 is."""
        self._digests[sample] = digest

    def keep(self, sample: Sample, view: View, pixels: NDArray[np.uint8]) -> bool:
        """Keep an image as a view shows it; return whether there is room."""
        key = (sample, view.id)
        with self._lock:
            if key not in self._pixels:
                if pixels.nbytes > self._room:
                    return False
                self._room -= pixels.nbytes
                self._pixels[key] = pixels
        return True


def digest_of(content: bytes | NDArray[np.uint8]) -> bytes:
    """Return the SHA-256 of an image's file, or of an array with its shape."""
    if isinstance(content, bytes):
        return hashlib.sha256(content).digest()
    head = f"{content.dtype.str}{content.shape}".encode()
    return hashlib.sha256(head + np.ascontiguousarray(content).tobytes()).digest()
