"""Class by class: how many of its images are found, and how often its name is right."""

from __future__ import annotations

from tlc_edge.compiler.report.evidence import Pictures
from tlc_edge.compiler.report.figures import whisker
from tlc_edge.compiler.report.findings import LISTED, ClassFindings, Findings, Rate
from tlc_edge.compiler.report.section import Section
from tlc_edge.compiler.report.text import Table, html, interval, name, percent

_HEAD = ("class", "training", "held out", "recall", "95 % interval", "precision", "95 % interval")


def section(f: Findings, _pictures: Pictures | None) -> Section:
    """Return a row for each class, the one that is found worst first; of very many the first of them."""
    rows = [
        [name(c.label), str(c.train), str(c.held_out), *_cells(c.recall), *_cells(c.precision)]
        for c in sorted(f.classes, key=_worst_first)[:LISTED]
    ]
    told = {"file": f.first.file, "table": Table(_HEAD, rows), "more": len(f.classes) - len(rows)}
    return Section("classes", "Class by class", __file__, told)


def _worst_first(c: ClassFindings) -> tuple[float, str]:
    return (c.recall.share if c.recall else 1.0, c.label)


def _cells(r: Rate | None) -> list[str]:
    if r is None:
        return ["-", "-"]
    return [percent(r.share), html("{} {}", whisker(r.low, r.share, r.high), interval(r))]
