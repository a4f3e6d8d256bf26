"""`report.json`: the findings for machines. docs/report.md describes every key."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass, replace
from typing import Any

from tlc_edge.compiler.verify.layer_errors import LayerError, worst_first

from .findings import Findings, Rate, confused_pairs
from .settings import to_manifest
from .warnings import find_warnings

SCHEMA = 1
"""Rises when a key changes its meaning or goes; more keys may come."""
_DIGITS = 5
_REFERENCE = "Keras graph"  # what `file` of `float` says; programs may compare it


def report_json(findings: Findings) -> bytes:
    """Return the document as UTF-8, byte for byte the same for equal findings."""
    f = findings
    m = f.manifest
    document = {
        "schema": SCHEMA,
        "target": m.target,
        "backbone": m.backbone,
        "shave": m.shave,
        "neck": m.neck,
        "head": m.head,
        "preprocessing": asdict(m.preprocessing),
        "choices": f.choices,
        "settings": to_manifest(f.settings),
        "versions": m.versions,
        "fingerprint": m.fingerprint,
        "images": f.images,
        "held_out": len(f.truth),
        "labels": f.labels,
        "macs": f.study.macs,
        "float": replace(f.reference, file=_REFERENCE),
        "files": f.files,
        "train_accuracy": f.study.train_accuracy,
        "classes": f.classes,
        "confusion": [{"truth": label, "answer": label, "images": int(f.confusion[i, i])} for i, label in _own(f)]
        + [{"truth": f.labels[i], "answer": f.labels[j], "images": n} for n, i, j in confused_pairs(f)],
        "wrong": f.wrong,
        "unsure": f.unsure,
        "odd": f.odd,
        "learning_curve": f.study.curve,
        "map": _map(f),
        "layers": {file: [_layer(e) for e in worst_first(errors)] for file, errors in f.layers.items()},
        "bias_correction": f.corrections,
        "parity": f.parity,
        "unknown": m.metrics["unknown"],
        "duplicates": f.duplicates,
        "skipped": [{"image": s.name, "reason": s.reason} for s in f.skipped],
        "warnings": find_warnings(f),
    }
    text = json.dumps(_plain(document), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    return text.encode("utf-8", "backslashreplace")  # a name that is no text becomes an escape, as JSON has them


def _layer(e: LayerError) -> dict[str, Any]:
    return {"name": e.name, "operation": e.operation, "snr": e.snr, "cosine": e.cosine, "added": e.added}


def _own(f: Findings) -> list[tuple[int, str]]:
    return [(i, label) for i, label in enumerate(f.labels) if f.confusion[i, i]]


def _map(f: Findings) -> dict[str, Any]:
    s, shown = f.study, f.study.map
    rows: list[tuple[str, str, int, bool | None]] = []
    rows += [("train", s.train_names[i], int(s.train_classes[i]), None) for i in shown.train]
    rows += [("held_out", f.names[i], int(f.truth[i]), bool(f.right[i])) for i in shown.held_out]
    points = [
        {"part": part, "image": name, "label": f.labels[c], "right": right, "x": float(x), "y": float(y)}
        for (part, name, c, right), (x, y) in zip(rows, shown.points, strict=True)
    ]
    return {"method": shown.method, "points": points}


def _plain(value: Any) -> Any:
    """Return what JSON can hold: records as objects, floats rounded."""
    if isinstance(value, Rate):
        interval = [value.low, value.high]
        return _plain({"right": value.right, "total": value.total, "share": value.share, "interval": interval})
    if is_dataclass(value) and not isinstance(value, type):
        return {name: _plain(getattr(value, name)) for name in value.__dataclass_fields__ if name != "index"}
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(v) for v in value]
    return round(value, _DIGITS) if isinstance(value, float) else value
