"""tlc on the device: open a bundle, predict, learn new classes on the spot.

from tlc.runtime import Classifier

with Classifier.open("photos.tlc") as classifier:
    print(classifier.predict("x.jpg").label)
    classifier.enroll("mug", ["a.jpg", "b.jpg", "c.jpg"])
"""

from .bundle import Bundle
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
from .gallery import Change, Gallery
from .manifest import Manifest, Preprocessing
from .prediction import Neighbour, Prediction, Ranked

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
