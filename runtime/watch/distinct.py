"""Tells frames that show something new from those that only repeat what was taken.

Two frames of a scene in which nothing moves are never equal: the sensor's noise and the camera's own JPEG change every
pixel. How far that moves an embedding depends on the model and the picture, so no constant tells the two apart. How
far a frame's own thumbnail is away from it does: that is a picture of the same, with losses that no eye sees.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from tlc_edge.runtime.classifier import Classifier, thumbnail
from tlc_edge.runtime.images.load import Source, load_image
from tlc_edge.runtime.vectors import Floats

_KEPT = 1000


class Distinct:
    """The frames that were taken, by their embeddings; the latest 1,000 of them."""

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier
        self._taken: deque[Floats] = deque(maxlen=_KEPT)
        self._repeats: deque[float] = deque(maxlen=_KEPT)
        """For each of these, the cosine of its own thumbnail: what is nearer to it repeats it."""

    def take(self, image: Source, order: str = "RGB") -> bool:
        """Return whether a frame shows something new; then it is one of those taken.

        Raises:
            ImageError: it cannot be read.
        """
        manifest = self._classifier.bundle.manifest
        pixels = load_image(image, manifest.preprocessing, order, memory=manifest.image_memory)
        seen = _unit(self._classifier.embed(pixels))
        if self._taken and bool((np.stack(self._taken) @ seen > np.array(self._repeats)).any()):
            return False
        self._taken.append(seen)
        self._repeats.append(float(seen @ _unit(self._classifier.embed(thumbnail(pixels)))))
        return True


def _unit(vector: Floats) -> Floats:
    return vector / max(float(np.linalg.norm(vector)), 1e-12)
