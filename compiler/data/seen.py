"""What a build has seen of its images: each is read and decoded once, for all steps, as far as memory allows."""

from __future__ import annotations

import hashlib
import threading

import numpy as np
from numpy.typing import NDArray

from .records import Sample


class Seen:
    """The SHA-256 of each sample that was read, and the pixels of some; for any number of threads."""

    def __init__(self, room: int = 0) -> None:
        """Keep pixels, up to `room` bytes of them."""
        self._room = room
        self._digests: dict[Sample, bytes] = {}  # not by name, which is unique in one data set only
        self._pixels: dict[Sample, NDArray[np.uint8]] = {}
        self._lock = threading.Lock()

    def digest(self, sample: Sample) -> bytes | None:
        """Return the SHA-256 of an image's file, or of its pixels where it has none; None where it was not read."""
        return self._digests.get(sample)

    def pixels(self, sample: Sample) -> NDArray[np.uint8] | None:
        """Return an image as the device would see it, uint8 [H, W, C], where it was kept; treat it as read-only."""
        return self._pixels.get(sample)

    def note(self, sample: Sample, digest: bytes) -> None:
        """Say what an image's SHA-256 is."""
        self._digests[sample] = digest

    def keep(self, sample: Sample, pixels: NDArray[np.uint8]) -> None:
        """Keep an image as the device would see it, if there is room."""
        with self._lock:
            if sample not in self._pixels and pixels.nbytes <= self._room:
                self._room -= pixels.nbytes
                self._pixels[sample] = pixels


def digest_of(content: bytes | NDArray[np.uint8]) -> bytes:
    """Return the SHA-256 of an image's file, or of an array with its shape."""
    if isinstance(content, bytes):
        return hashlib.sha256(content).digest()
    head = f"{content.dtype.str}{content.shape}".encode()
    return hashlib.sha256(head + np.ascontiguousarray(content).tobytes()).digest()
