"""tlc on the device: open a bundle, predict, learn new classes on the spot.

from tlc_edge.runtime import Classifier

with Classifier.open("photos.tlc") as classifier:
    print(classifier.predict("x.jpg").label)
    classifier.enroll("mug", ["a.jpg", "b.jpg", "c.jpg"])

Importing this package is light; numpy and Pillow are imported with the first name that needs them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tlc_edge.runtime.bundle.bundle import Bundle
    from tlc_edge.runtime.bundle.manifest import Manifest, Preprocessing
    from tlc_edge.runtime.gallery.gallery import Gallery
    from tlc_edge.runtime.gallery.records import Change
    from tlc_edge.runtime.knn.prediction import Neighbour, Prediction, Ranked

    from .classifier import Classifier
    from .errors import (
        BuildError,
        BundleError,
        DataError,
        DeviceError,
        EngineError,
        FingerprintError,
        GalleryError,
        ImageError,
        SelftestError,
        TlcError,
        UsageError,
    )

__all__ = [
    "Classifier",
    "Prediction",
    "Ranked",
    "Neighbour",
    "Change",
    "Bundle",
    "Gallery",
    "Manifest",
    "Preprocessing",
    "TlcError",
    "UsageError",
    "ImageError",
    "DataError",
    "BundleError",
    "EngineError",
    "SelftestError",
    "GalleryError",
    "FingerprintError",
    "DeviceError",
    "BuildError",
]

_ROOMS = {
    "Classifier": "classifier",
    **dict.fromkeys(("Prediction", "Ranked", "Neighbour"), "knn.prediction"),
    "Change": "gallery.records",
    "Bundle": "bundle.bundle",
    "Gallery": "gallery.gallery",
    **dict.fromkeys(("Manifest", "Preprocessing"), "bundle.manifest"),
}
"""Where the names above are that are not errors."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(f"{__name__}.{_ROOMS.get(name, 'errors')}"), name)
    globals()[name] = found  # from now on without this function
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
