"""What the API answers, as JSON values: each shape is in openapi.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from tlc_edge.runtime.classifier import Classifier, Explanation
from tlc_edge.runtime.errors import (
    DeviceError,
    EngineError,
    GalleryError,
    ImageError,
    TlcError,
    UsageError,
)
from tlc_edge.runtime.gallery.merge import Merged
from tlc_edge.runtime.gallery.records import Change, Example

STATUS: tuple[tuple[type[TlcError], int], ...] = (
    (UsageError, 400),
    (ImageError, 422),
    (GalleryError, 409),
    (DeviceError, 503),
    (EngineError, 500),
    (TlcError, 500),
)
"""The first that fits counts."""


def status_of(error: TlcError) -> int:
    """Return the HTTP status that tells an error."""
    return next(status for kind, status in STATUS if isinstance(error, kind))


def error_document(what: str, kind: str) -> dict[str, Any]:
    """Return an error as `tlc --json` prints one."""
    return {"error": {"what": what, "kind": kind}}


def change_document(change: Change) -> dict[str, Any]:
    """Return what an operation on the gallery did."""
    return {
        "kind": change.kind,
        "label": change.label,
        "added": change.added,
        "removed": change.removed,
        "skipped": change.skipped,
        "gone": change.gone,
        "undone": change.undone,
        "operation": change.operation,
        "classes": dict(change.classes),
        "warnings": [asdict(w) for w in change.warnings],
    }


def merged_document(merged: Merged) -> dict[str, Any]:
    """Return what an import did."""
    found = asdict(merged)
    del found["path"]  # of this machine
    return found


def example_document(example: Example) -> dict[str, Any]:
    """Return one enrolled example."""
    return {
        "id": example.id,
        "label": example.label,
        "source_name": example.source_name,
        "at": example.at,
        "has_thumbnail": example.has_thumbnail,
        "stands_for": example.stands_for,
    }


def explanation_document(found: Explanation, image: str) -> dict[str, Any]:
    """Return an answer with what is stored of its neighbours; their pictures are at `thumbnails/{id}`."""
    near = [
        {
            "id": n.id,
            "label": n.label,
            "similarity": round(n.similarity, 4),
            "example": None if example is None else example_document(example),
        }
        for n, example, _ in found.near
    ]
    return {"prediction": found.prediction.document(image), "nearest": near}


def classes_document(classifier: Classifier) -> dict[str, Any]:
    """Return every class, in order, with how many examples are enrolled of it."""
    base = set(classifier.bundle.manifest.labels)
    return {
        "classes": [
            {"label": label, "examples": count, "base": label in base} for label, count in classifier.classes().items()
        ]
    }


def about_document(name: str, classifier: Classifier, version: str) -> dict[str, Any]:
    """Return what a bundle is, and how good."""
    manifest = classifier.bundle.manifest
    spec = manifest.preprocessing
    models: Any = manifest.metrics.get("models", {})
    measured: Any = models.get(classifier.model.file) if isinstance(models, Mapping) else None
    return {
        "name": name,
        "fingerprint": manifest.fingerprint,
        "created": manifest.created,
        "labels": list(manifest.labels),
        "target": manifest.target.get("name"),
        "backbone": manifest.backbone.get("name"),
        "model": {"file": classifier.model.file, "scheme": classifier.model.scheme, "bytes": classifier.model.bytes},
        "engine": classifier.engine,
        "input": {"height": spec.height, "width": spec.width, "channels": spec.channels},
        "embedding_width": manifest.embedding_width,
        "accuracy": _accuracy(measured),
        "unknown_rate": manifest.unknown.rate,
        "stored": classifier.rows,
        "version": version,
    }


def _accuracy(measured: Any) -> dict[str, Any] | None:
    """Return what the build measured of a model file, None where it does not say."""
    if not isinstance(measured, Mapping) or not isinstance(measured.get("accuracy"), int | float):
        return None
    return {key: measured.get(key) for key in ("accuracy", "interval", "correct", "agreement", "embedding_cosine")}
