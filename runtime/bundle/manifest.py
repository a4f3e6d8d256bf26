"""`manifest.json`: what a bundle says about itself, and the only place that reads or writes it.

What the runtime acts on is typed here; what only people read (provenance, metrics, versions) is
carried through as it is. The schema number rises when an older runtime could misread a newer bundle.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, cast

from tlc_edge.runtime.errors import BundleError
from tlc_edge.runtime.labels import is_label

SCHEMA = 1
_RUNTIME = 128 << 20
"""Bytes that numpy, Pillow, an engine and a model hold; `tlc bench` shows 90 MB with EfficientNet-Lite0."""
_FOR_PEOPLE = ("target", "backbone", "shave", "neck", "head", "metrics", "versions")


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
    passes: str = "tall-vertical"
    """Which pass of resizing comes first. `tall-vertical`: the vertical one where an image is much too high, as Pillow
    does from 13.0 on, else the horizontal one. Empty, in bundles of before: as the installed Pillow does."""


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
    """The numbers of the rule that joins head and gallery (`tlc_edge.runtime.knn.decision`)."""

    k: int = 3
    """Neighbours that vote."""
    temperature: float = 0.03
    """Cosine difference at which a neighbour's vote falls to 1/e of the nearest one's."""
    mean: float = 0.0
    """Weight of the cosine to the mean of a neighbour's class, against that to the neighbour itself: 0 to 1."""
    balance: float = 0.0
    """An enrolled example's vote counts min(k, examples of its class) to the power of minus this: 0 to 1."""
    means: float = 0.0
    """Weight of what the means of all classes say, beside head and votes, once something is enrolled."""
    means_temperature: float = 0.04
    """Cosine difference at which what a class's mean says falls to 1/e."""


@dataclass(frozen=True)
class Unknown:
    """What the `unknown` threshold is made from (`tlc_edge.runtime.knn.unknown`)."""

    rate: float = 0.05
    """False-alarm rate: the share of known images that may be called unknown."""
    scores: tuple[float, ...] = ()
    """Known-ness of images of the base classes that the build measured, ascending. `unknown.npz` has the rest."""


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

    @property
    def image_memory(self) -> int:
        """Bytes that the target has for decoding one image; 0 where the bundle does not say.

        What its processes may hold, less the runtime and the model. A target without as much runs no Python.
        """
        peak: Any = self.target.get("peak_memory_bytes")
        return max(0, peak - _RUNTIME) if isinstance(peak, int) and not isinstance(peak, bool) else 0


def to_json(manifest: Manifest) -> bytes:
    """Return the manifest as UTF-8 JSON with sorted keys, byte for byte the same for equal manifests."""
    document = asdict(manifest)
    if not document["decision"]["means"]:
        del document["decision"]["means_temperature"]
    for name in ("mean", "balance", "means"):  # 0 is what a manifest without them means, so it is not written
        if not document["decision"][name]:
            del document["decision"][name]
    if not document["preprocessing"]["passes"]:  # likewise
        del document["preprocessing"]["passes"]
    return (json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def from_json(data: bytes, where: str) -> Manifest:
    """Read a manifest; `where` names the bundle in errors.

    Raises:
        BundleError: it is not JSON, lacks or misuses a field, or has a schema this version does not know.
    """
    try:
        raw: Any = json.loads(data, parse_constant=_number, parse_float=_number)
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
    except KeyError as e:
        raise BundleError(f"{where}: manifest.json lacks the field {e}; build the bundle again") from None
    except ValueError as e:
        raise BundleError(f"{where}: manifest.json has {e}; build the bundle again") from None


def _parse(doc: dict[str, Any]) -> Manifest:
    pre = _object(doc["preprocessing"], "preprocessing")
    decision, unknown = _object(doc["decision"], "decision"), _object(doc["unknown"], "unknown")
    labels = tuple(_text(label, "labels") for label in _list(doc["labels"], "labels"))
    if len(set(labels)) < len(labels):
        raise ValueError("a label twice")
    odd = next((label for label in labels if not is_label(label)), None)
    if odd is not None:
        raise ValueError(f"the label {_short(odd)}, which cannot name a class")
    background = [_whole(c, "background", 0, 255) for c in _list(pre["background"], "background")]
    if len(background) != 3:
        raise ValueError(f"background {background}, expected three numbers")
    files = _object(doc["files"], "files")
    return Manifest(
        fingerprint=_text(doc["fingerprint"], "fingerprint"),
        labels=labels,
        preprocessing=Preprocessing(
            height=_whole(pre["height"], "height"),
            width=_whole(pre["width"], "width"),
            channels=_whole(pre["channels"], "channels"),
            fit=_text(pre["fit"], "fit"),
            filter=_text(pre["filter"], "filter"),
            background=(background[0], background[1], background[2]),
            passes=_text(pre.get("passes", ""), "passes"),
        ),
        models=tuple(_model(m) for m in _list(doc["models"], "models")),
        embedding_width=_whole(doc["embedding_width"], "embedding_width"),
        decision=Decision(
            k=_whole(decision["k"], "k"),
            temperature=_real(decision["temperature"], "temperature", 1e-6),
            mean=_real(decision.get("mean", 0.0), "mean", 0.0, 1.0),
            balance=_real(decision.get("balance", 0.0), "balance", 0.0, 1.0),
            means=_real(decision.get("means", 0.0), "means", 0.0, 1e3),
            means_temperature=_real(decision.get("means_temperature", 0.04), "means_temperature", 1e-6),
        ),
        unknown=Unknown(
            rate=_real(unknown["rate"], "rate", 0.0, 1.0),
            scores=tuple(_real(score, "scores", -2.0, 2.0) for score in _list(unknown["scores"], "scores")),
        ),
        scheme=_text(doc["scheme"], "scheme"),
        **{name: _object(doc[name], name) for name in _FOR_PEOPLE},
        files={_inside(name): _text(digest, f"as hash of {name}") for name, digest in files.items()},
        created=_text(doc["created"], "created"),
        schema=_whole(doc["schema"], "schema"),
    )


def _model(value: Any) -> ModelFile:
    doc = _object(value, "models")
    return ModelFile(
        file=_text(doc["file"], "file"),
        format=_text(doc["format"], "format"),
        scheme=_text(doc["scheme"], "scheme"),
        bytes=_whole(doc["bytes"], "bytes", 0),
    )


def _number(text: str) -> float:
    """Read a number of the JSON text; NaN and the infinities, which Python's parser lets pass, are none."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is no number")
    return value


def _object(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{name} {_short(value)}, expected an object")
    return cast("dict[str, Any]", value)


def _list(value: Any, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{name} {_short(value)}, expected a list")
    return value


def _text(value: Any, name: str) -> str:
    # Half a surrogate pair is valid JSON, but no text that could be printed or written.
    if not isinstance(value, str) or any("\ud800" <= c <= "\udfff" for c in value):
        raise ValueError(f"{name} {_short(value)}, expected text")
    return value


def _inside(name: str) -> str:
    """Return the name of a file in the bundle; one that leads out of it is none."""
    _text(name, "files")
    if "\\" in name or "\0" in name or any(part in ("", ".", "..") for part in name.split("/")):
        raise ValueError(f"files {_short(name)}, expected names of files inside the bundle")
    return name


def _whole(value: Any, name: str, low: int = 1, high: int = 1 << 40) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError(f"{name} {_short(value)}, expected a whole number from {low}")
    return value


def _real(value: Any, name: str, low: float, high: float = 1e9) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError(f"{name} {_short(value)}, expected a number from {low:g} to {high:g}")
    return float(value)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:40] + "…"


def fingerprint(parts: Mapping[str, Any]) -> str:
    """Hash everything that decides what an embedding means; `parts` must be JSON values.

    The compiler passes trunk, neck, scheme and preprocessing. The head is left out on purpose: a
    new head on the same embedding can still use what was taught to the old one.
    """
    import hashlib

    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
