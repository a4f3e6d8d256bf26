"""Accuracy of each file and of the float graph."""

from __future__ import annotations

from tlc_edge.compiler.report.evidence import Pictures
from tlc_edge.compiler.report.figures import accuracy_plot
from tlc_edge.compiler.report.findings import FileFindings, Findings
from tlc_edge.compiler.report.section import Section
from tlc_edge.compiler.report.text import Table, html, interval, number, percent, size

_HEAD = ("model", "scheme", "size", "right", "accuracy", "95 % interval", "same answer as float", "embedding cosine")


def section(f: Findings, _pictures: Pictures | None) -> Section:
    """Return a row for each file, the float graph last."""
    files = (*f.files, f.reference)
    return Section(
        "accuracy",
        "Accuracy",
        __file__,
        {
            "has_classes": bool(f.manifest.labels),
            "plot": accuracy_plot(files),
            "table": Table((*_HEAD, "calibration error"), [_row(file) for file in files]),
        },
    )


def _row(f: FileFindings) -> list[str]:
    a = f.accuracy
    return [
        f.file,
        f.scheme,
        size(f.bytes) if f.bytes else "-",
        f"{a.right} of {a.total}",
        html("<b>{}</b>", percent(a.share)),
        interval(a),
        percent(f.agreement),
        number(f.embedding_cosine, 4),
        number(None if f.reliability is None else f.reliability.error, 3),
    ]
