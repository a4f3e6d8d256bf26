"""A bundle's bill of materials: the files in it, and the weights, the data and the libraries that made them.

Source: CycloneDX 1.6, https://cyclonedx.org/docs/1.6/json/. The manifest holds what the tlc of its day wrote, so what
does not fit a field is left out.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from .bundle import MANIFEST, Bundle
from .manifest import ModelFile

_SPACE = uuid.UUID("8a1f5d1c-6a5e-5c0f-9b38-2f6a1f7c2d10")
"""What the serial numbers of these documents are made in: equal bundles have equal ones."""
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
_HASH = re.compile(r"[0-9a-f]{64}")
_DATA, _BACKBONE = "data", "backbone"

Document = dict[str, Any]


def bill_of_materials(bundle: Bundle) -> Document:
    """Return the document, ready for JSON."""
    m = bundle.manifest
    models = {model.file: model for model in m.models}
    made_from = [_backbone(m.backbone), _data(m.metrics)]
    parts = [one for one in made_from if one is not None]
    refs = [str(one["bom-ref"]) for one in parts]
    files = [_file(name, sha256, models.get(name), bundle) for name, sha256 in sorted(m.files.items())]
    whole = {
        "type": "machine-learning-model",
        "bom-ref": "bundle",
        "name": bundle.path.resolve().stem,
        "version": m.fingerprint[:16],
        **_hashes(hashlib.sha256(bundle.read(MANIFEST)).hexdigest()),
        "properties": _properties(bundle),
    }
    made = {"timestamp": m.created} if _TIME.fullmatch(m.created) else {}
    tlc = _text(m.versions.get("tlc-edge"))
    tools = {"tools": {"components": [{"type": "application", "name": "tlc-edge", "version": tlc}]}} if tlc else {}
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(_SPACE, hashlib.sha256(bundle.read(MANIFEST)).hexdigest())}",
        "version": 1,
        "metadata": {**made, **tools, "component": whole},
        "components": [*files, *parts, *_libraries(m.versions)],
        "dependencies": [
            {"ref": "bundle", "dependsOn": [f"file:{name}" for name in sorted(m.files)]},
            *({"ref": f"file:{name}", "dependsOn": refs} for name in sorted(models) if name in m.files),
        ],
    }


def _file(name: str, sha256: str, model: ModelFile | None, bundle: Bundle) -> Document:
    found: Document = {"type": "file", "bom-ref": f"file:{name}", "name": name, **_hashes(sha256)}
    if model is None:
        return found
    spec = bundle.manifest.preprocessing
    card: Document = {
        "modelParameters": {
            "task": "image classification",
            "inputs": [{"format": f"uint8 RGB [{spec.height}, {spec.width}, {spec.channels}]"}],
            "outputs": [
                *(
                    [{"format": f"float32 probabilities [{len(bundle.manifest.labels)}]"}]
                    if bundle.manifest.labels
                    else []
                ),
                {"format": f"float32 embedding [{bundle.manifest.embedding_width}]"},
            ],
            **({"datasets": [{"ref": _DATA}]} if _data(bundle.manifest.metrics) else {}),
        }
    }
    measured = _accuracy(bundle.manifest.metrics, name)
    if measured:
        card["quantitativeAnalysis"] = {"performanceMetrics": [measured]}
    about = f"{model.format}, {model.scheme}"
    return {**found, "type": "machine-learning-model", "description": about, "modelCard": card}


def _accuracy(metrics: Any, name: str) -> Document:
    try:
        found = metrics["models"][name]
        low, high = found["interval"]
        interval = {"lowerBound": f"{low:.4f}", "upperBound": f"{high:.4f}"}
        return {"type": "accuracy", "value": f"{found['accuracy']:.5f}", "confidenceInterval": interval}
    except (KeyError, TypeError, ValueError):
        return {}


def _backbone(found: Mapping[str, Any]) -> Document | None:
    name = _text(found.get("name"))
    if not name:
        return None
    licence, on, source = (_text(found.get(key)) for key in ("licence", "pretrained_on", "source"))
    return {
        "type": "machine-learning-model",
        "bom-ref": _BACKBONE,
        "name": name,
        "description": ", ".join(t for t in (f"pretrained on {on}" if on else "", source) if t) or "a backbone",
        **_hashes(found.get("sha256")),
        **({"licenses": [{"license": {"name": licence}}]} if licence else {}),
    }


def _data(metrics: Mapping[str, Any]) -> Document | None:
    sha256 = metrics.get("data_sha256")
    if not _hashes(sha256):
        return None
    images: Any = metrics.get("images")
    count = sum(n for n in images.values() if isinstance(n, int)) if isinstance(images, dict) else 0
    return {
        "type": "data",
        "bom-ref": _DATA,
        "name": "labelled images",
        "description": f"{count} images; the hash is of the sorted lines of each image's SHA-256 and its label",
        **_hashes(sha256),
        "data": [{"type": "dataset", "name": "labelled images"}],
    }


def _libraries(versions: Mapping[str, Any]) -> list[Document]:
    """Return what the build ran on; `excluded`, as none of it is in the bundle."""
    found = [(_text(name), _text(version)) for name, version in sorted(versions.items())]
    return [
        {
            "type": "platform" if name == "python" else "library",
            "bom-ref": f"library:{name}",
            "name": name,
            "version": version,
            "scope": "excluded",
            **({} if name == "python" else {"purl": f"pkg:pypi/{quote(name.lower(), '')}@{quote(version, '')}"}),
        }
        for name, version in found
        if name and version
    ]


def _properties(bundle: Bundle) -> list[Document]:
    m, signed = bundle.manifest, bundle.signed
    named = {
        "tlc:target": m.target.get("name"),
        "tlc:scheme": m.scheme,
        "tlc:fingerprint": m.fingerprint,
        "tlc:trunk_sha256": m.shave.get("trunk_sha256"),
        "tlc:neck_sha256": m.neck.get("sha256"),
    }
    if signed is not None:
        serial = "" if signed.release is None else str(signed.release.serial)
        verified = "yes" if signed.verified else "no"
        named |= {"tlc:signed_by": signed.key, "tlc:serial": serial, "tlc:signature_verified": verified}
    return [{"name": key, "value": _text(value)} for key, value in named.items() if _text(value)]


def _hashes(sha256: Any) -> Document:
    is_one = isinstance(sha256, str) and _HASH.fullmatch(sha256)
    return {"hashes": [{"alg": "SHA-256", "content": sha256}]} if is_one else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
