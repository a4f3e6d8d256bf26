"""tlc on the device: open a bundle, predict, learn new classes on the spot.

from tlc_edge.runtime import Classifier

with Classifier.open("photos.tlc") as classifier:
    print(classifier.predict("x.jpg").label)
    classifier.enroll("mug", ["a.jpg", "b.jpg", "c.jpg"])
"""

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
