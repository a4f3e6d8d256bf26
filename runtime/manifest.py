"""`manifest.json`: what a bundle says about itself, and the only place that reads or writes it.

What the runtime acts on is typed here; what only people read (provenance, metrics, versions) is
carried through as it is. The schema number rises when an older runtime could misread a newer bundle.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, cast

from .errors import BundleError

SCHEMA = 1


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes the model's input: uint8 RGB [height, width, channels]."""

    height: int
    width: int
    channels: int = 3
    fit: str = "stretch"
    """`stretch`: the whole image, its aspect ratio given up."""
    filter: str = "bilinear"
    """Resampling filter, always with anti-alias."""
    background: tuple[int, int, int] = (255, 255, 255)
    """Colour that shows through transparent pixels."""


@dataclass(frozen=True)
class ModelFile:
    """One model in the bundle; both outputs are named `probabilities` and `embedding`."""

    file: str
    format: str
    """`tflite` or `onnx`."""
    scheme: str
    bytes: int


@dataclass(frozen=True)
class Decision:
    """The numbers of the rule that joins head and gallery (`tlc.runtime.decision`)."""

    k: int = 5
    """Neighbours that vote."""
    temperature: float = 0.05
    """Cosine difference at which a neighbour's vote falls to 1/e of the nearest one's."""


@dataclass(frozen=True)
class Unknown:
    """What the `unknown` threshold is calibrated from (`tlc.runtime.unknown`)."""

    rate: float = 0.05
    """False-alarm rate: the share of known images that may be called unknown."""
    scores: tuple[float, ...] = ()
    """Known-ness scores of held-out images of the base classes, ascending."""


@dataclass(frozen=True, eq=False)
class Manifest:
    """A bundle's manifest. `files` holds the SHA-256 of every other file in the bundle, by name."""

    fingerprint: str
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    models: tuple[ModelFile, ...]
    embedding_width: int
    decision: Decision = field(default_factory=Decision)
    unknown: Unknown = field(default_factory=Unknown)
    scheme: str = "int8"
    target: Mapping[str, Any] = field(default_factory=dict[str, Any])
    backbone: Mapping[str, Any] = field(default_factory=dict[str, Any])
    shave: Mapping[str, Any] = field(default_factory=dict[str, Any])
    neck: Mapping[str, Any] = field(default_factory=dict[str, Any])
    head: Mapping[str, Any] = field(default_factory=dict[str, Any])
    metrics: Mapping[str, Any] = field(default_factory=dict[str, Any])
    versions: Mapping[str, Any] = field(default_factory=dict[str, Any])
    files: Mapping[str, str] = field(default_factory=dict[str, str])
    created: str = ""
    """UTC time of the build, ISO 8601: the one field that differs between two equal builds."""
    schema: int = SCHEMA


def to_json(manifest: Manifest) -> bytes:
    """Return the manifest as UTF-8 JSON with sorted keys, byte for byte the same for equal manifests."""
    return (json.dumps(asdict(manifest), indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def from_json(data: bytes, where: str) -> Manifest:
    """Read a manifest; `where` names the bundle in errors.

    Raises:
        BundleError: it is not JSON, lacks a field, or has a schema this version does not know.
    """
    try:
        raw: Any = json.loads(data)
    except (ValueError, RecursionError) as e:
        raise BundleError(f"{where}: manifest.json is not valid JSON ({e}); build the bundle again") from None
    if not isinstance(raw, dict):
        raise BundleError(f"{where}: manifest.json is not a JSON object; build the bundle again")
    doc = cast("dict[str, Any]", raw)
    schema: Any = doc.get("schema")
    if not isinstance(schema, int) or isinstance(schema, bool) or schema < 1:
        raise BundleError(f"{where}: manifest.json has schema {schema!r}, expected a number from 1 to {SCHEMA}")
    if schema > SCHEMA:
        raise BundleError(
            f"{where}: bundle has schema {schema}, this tlc reads up to {SCHEMA}; upgrade tlc on this device"
        )
    try:
        return _parse(doc)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as e:
        raise BundleError(f"{where}: manifest.json lacks or misuses a field ({e}); build it again") from None


def _parse(doc: dict[str, Any]) -> Manifest:
    pre: dict[str, Any] = doc["preprocessing"]
    decision: dict[str, Any] = doc["decision"]
    unknown: dict[str, Any] = doc["unknown"]
    background = [int(c) for c in pre["background"]]
    if len(background) != 3:
        raise ValueError("preprocessing.background needs three numbers")
    return Manifest(
        fingerprint=str(doc["fingerprint"]),
        labels=tuple(str(label) for label in doc["labels"]),
        preprocessing=Preprocessing(
            height=_positive(pre["height"]),
            width=_positive(pre["width"]),
            channels=_positive(pre["channels"]),
            fit=str(pre["fit"]),
            filter=str(pre["filter"]),
            background=(background[0], background[1], background[2]),
        ),
        models=tuple(
            ModelFile(str(m["file"]), str(m["format"]), str(m["scheme"]), int(m["bytes"])) for m in doc["models"]
        ),
        embedding_width=_positive(doc["embedding_width"]),
        decision=Decision(k=_positive(decision["k"]), temperature=float(decision["temperature"])),
        unknown=Unknown(rate=float(unknown["rate"]), scores=tuple(float(s) for s in unknown["scores"])),
        scheme=str(doc["scheme"]),
        target=dict(doc["target"]),
        backbone=dict(doc["backbone"]),
        shave=dict(doc["shave"]),
        neck=dict(doc["neck"]),
        head=dict(doc["head"]),
        metrics=dict(doc["metrics"]),
        versions=dict(doc["versions"]),
        files={str(name): str(digest) for name, digest in dict(doc["files"]).items()},
        created=str(doc["created"]),
        schema=int(doc["schema"]),
    )


def _positive(value: Any) -> int:
    number = int(value)
    if number < 1:
        raise ValueError(f"{value!r} is not a positive number")
    return number


def fingerprint(parts: Mapping[str, Any]) -> str:
    """Hash everything that decides what an embedding means; `parts` must be JSON values.

    The compiler passes trunk, neck, scheme and preprocessing. The head is left out on purpose: a
    new head on the same embedding can still use what was taught to the old one.
    """
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
