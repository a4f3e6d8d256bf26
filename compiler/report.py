"""`report.html`: what was built, how good it is, and what was chosen, as one self-contained page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from tlc.runtime.manifest import Manifest

from .verify import Judged

if TYPE_CHECKING:
    from .assemble import Evidence

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b1f24;background:#fff}
h1{font-size:1.6rem;margin-bottom:.2rem}h2{font-size:1.15rem;margin-top:2rem}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
td,th{padding:.3rem .7rem;text-align:right;border-bottom:1px solid #d8dee4}
th:first-child,td:first-child{text-align:left}.matrix td{text-align:center;min-width:2.2rem}.note{color:#57606a}
.scroll{overflow-x:auto}
@media(prefers-color-scheme:dark){body{background:#0d1117;color:#e6edf3}td,th{border-color:#30363d}.note{color:#9198a1}}
"""
_MATRIX_CLASSES = 40  # a larger confusion matrix is no longer read, only scrolled


def render(manifest: Manifest, evidence: Evidence, judged: Sequence[Judged]) -> bytes:
    """Return the page as UTF-8; it depends on the build's inputs only, not on the time."""
    metrics: Any = manifest.metrics
    first = judged[0]
    title = f"{manifest.target['title']}: {len(manifest.labels)} classes"
    parts = [
        f"<h1>{escape(title)}</h1>",
        f"<p class=note>{escape(manifest.backbone['name'])}, shaved at {escape(manifest.shave['layer'])}, "
        f"{escape(manifest.neck['kind'])} neck of {manifest.embedding_width}, {escape(manifest.head['kind'])} head, "
        f"{escape(manifest.scheme)}</p>",
        "<h2>Accuracy on held-out images</h2>",
        _accuracy(metrics, judged),
        f"<p class=note>{metrics['held_out']} images (validation and test) that trained nothing and set no range. "
        "The interval is the 95 % Wilson interval: with few images it is wide.</p>",
        "<h2>What is taken for what</h2>",
        f"<p class=note>{escape(first.file.info.file)} ({escape(first.file.info.scheme)}); "
        "rows are the truth, columns the answer.</p>",
        _confusion(manifest.labels, evidence, first),
        "<h2>Unknown</h2>",
        f"<p>Calibrated to call {100 * manifest.unknown.rate:g} % of known images unknown. On "
        f"{metrics['unknown']['test_images']} test images it did so for {metrics['unknown']['false_alarms']}.</p>",
        "<h2>Data</h2>",
        _rows([("part", "images"), *metrics["images"].items(), ("skipped", metrics["skipped"])]),
        _skipped(evidence),
        "<h2>How it was made</h2>",
        _rows([("setting", "value"), *_settings(manifest)]),
    ]
    page = (
        f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>{escape(title)}</title><style>{_STYLE}</style>{''.join(parts)}</html>\n"
    )
    return page.encode()


def _accuracy(metrics: Any, judged: Sequence[Judged]) -> str:
    def line(name: str, scheme: str, size: str, m: Any, agreement: str, cosine: str) -> tuple[str, ...]:
        low, high = m["interval"]
        return (
            name,
            scheme,
            size,
            f"{100 * m['accuracy']:.1f} %",
            f"{100 * low:.1f} to {100 * high:.1f}",
            agreement,
            cosine,
        )

    rows: list[tuple[str, ...]] = [
        ("model", "scheme", "bytes", "accuracy", "interval", "same answer as float", "embedding cosine")
    ]
    rows.append(line("Keras graph", "float32", "", metrics["float"], "", ""))
    for j in judged:
        m = metrics["models"][j.file.info.file]
        info = j.file.info
        rows.append(
            line(
                info.file,
                info.scheme,
                f"{info.bytes:,}",
                m,
                f"{100 * m['agreement']:.1f} %",
                f"{m['embedding_cosine']:.4f}",
            )
        )
    return _rows(rows)


def _confusion(labels: tuple[str, ...], evidence: Evidence, judged: Judged) -> str:
    count = len(labels)
    if not count:
        return "<p>The bundle has no classes of its own: accuracy is that of the nearest training image.</p>"
    matrix = np.zeros((count, count), int)
    np.add.at(matrix, (evidence.labelled.truth, judged.answers), 1)
    if count > _MATRIX_CLASSES:
        pairs = [(int(matrix[i, j]), i, j) for i, j in zip(*np.nonzero(matrix), strict=True) if i != j]
        top = [(labels[i], labels[j], n) for n, i, j in sorted(pairs, reverse=True)[:20]]
        return _rows([("truth", "answer", "images"), *top])
    head = "".join(f"<th>{escape(label)}</th>" for label in labels)
    body = ""
    for i, label in enumerate(labels):
        total = max(1, int(matrix[i].sum()))
        cells = "".join(
            f"<td style='background:rgba({'46,160,67' if i == j else '218,54,51'},{0.75 * matrix[i, j] / total:.2f})'>"
            f"{matrix[i, j] or ''}</td>"
            for j in range(count)
        )
        body += f"<tr><th>{escape(label)}</th>{cells}</tr>"
    return f"<div class=scroll><table class=matrix><tr><th></th>{head}</tr>{body}</table></div>"


def _skipped(evidence: Evidence) -> str:
    if not evidence.skipped:
        return ""
    shown = [(s.name, s.reason) for s in evidence.skipped[:50]]
    return "<p>These files could not be used:</p>" + _rows([("file", "reason"), *shown])


def _settings(manifest: Manifest) -> list[tuple[str, Any]]:
    metrics: Any = manifest.metrics
    return [
        ("weights", manifest.backbone["source"]),
        ("weights licence", manifest.backbone["licence"]),
        ("pretrained on", manifest.backbone["pretrained_on"]),
        *((f"head: {key}", value) for key, value in manifest.head.items()),
        *metrics["settings"].items(),
        ("fingerprint", manifest.fingerprint[:16]),
        *manifest.versions.items(),
    ]


def _rows(rows: Iterable[tuple[Any, ...]]) -> str:
    head, *body = rows
    top = "".join(f"<th>{escape(str(c))}</th>" for c in head)
    lines = "".join("<tr>" + "".join(f"<td>{escape(str(c))}</td>" for c in row) + "</tr>" for row in body)
    return f"<div class=scroll><table><tr>{top}</tr>{lines}</table></div>"
