"""What goes over the wire between `Client` and a server of `tlc serve`: images as files, answers as records."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tlc_edge.runtime.gallery.records import Change, EnrollWarning, Example
from tlc_edge.runtime.images.load import Source, read_bytes, source_name
from tlc_edge.runtime.knn.prediction import Neighbour, Prediction, Ranked

from . import errors
from .errors import DeviceError, TlcError


def error_of(answer: Any) -> TlcError:
    """Return what the server refused with, as the error that `Classifier` raises where it is one of those."""
    try:
        told = answer.json()["error"]
        what, kind = str(told["what"]), getattr(errors, str(told["kind"]), None)
    except (ValueError, KeyError, TypeError):
        return DeviceError(f"the server answers {answer.status_code}; check that it is one of `tlc serve`")
    return (kind if isinstance(kind, type) and issubclass(kind, TlcError) else DeviceError)(what)


def encoded(image: Source, order: str) -> tuple[str, bytes]:
    """Return an image's name, and the bytes of a file of it."""
    name = source_name(image)
    if isinstance(image, np.ndarray):
        image = Image.fromarray(_rgb(image, order))
    if not isinstance(image, Image.Image):
        return name, read_bytes(image, name)
    out = io.BytesIO()
    image.save(out, "PNG", compress_level=1)
    return name, out.getvalue()


def _rgb(pixels: NDArray[np.uint8], order: str) -> NDArray[np.uint8]:
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        return pixels[:, :, 0]
    return np.ascontiguousarray(pixels[:, :, ::-1]) if order == "BGR" and pixels.ndim == 3 else pixels


def prediction_of(found: dict[str, Any]) -> Prediction:
    """Return the prediction that `predict` of the API answers with."""
    return Prediction(
        label=found["label"],
        score=found["score"],
        source=found["source"],
        unknown=found["unknown"],
        ranked=tuple(Ranked(r["label"], r["score"]) for r in found["ranked"]),
        neighbours=tuple(Neighbour(n["id"], n["label"], n["similarity"]) for n in found["neighbours"]),
        knownness=found["knownness"],
        milliseconds=found["milliseconds"],
        threshold=float("-inf") if found["threshold"] is None else found["threshold"],
        none_of_these=found["none_of_these"],
    )


def example_of(found: dict[str, Any]) -> Example:
    """Return an enrolled example of the API; its hash stays on the device."""
    return Example(
        **{key: found[key] for key in ("id", "label", "source_name", "at", "has_thumbnail")},
        sha256="",
        stands_for=found.get("stands_for", 1),
    )


def change_of(found: dict[str, Any]) -> Change:
    """Return what a change of the API did."""
    given: dict[str, Any] = {**found, "warnings": tuple(EnrollWarning(**w) for w in found["warnings"])}
    return Change(**given)
