"""The data: the split, near-duplicates, and what could not be used."""

from __future__ import annotations

from tlc_edge.compiler.report.evidence import Pictures
from tlc_edge.compiler.report.findings import Findings
from tlc_edge.compiler.report.section import Section
from tlc_edge.compiler.report.text import Table, joined, name

_SHOWN = 50  # files and groups that are listed


def section(f: Findings, _pictures: Pictures | None) -> Section:
    """Return the counts, and tables of copies and of skipped files."""
    parts = [[part, str(f.images.get(part, 0))] for part in ("train", "validation", "test")]
    copies = [
        [
            name(g.images[0]),
            joined([name(image) for image in g.images[1:6]], ", "),
            joined([name(label) for label in g.labels], ", "),
            ", ".join(g.parts),
        ]
        for g in f.duplicates[:_SHOWN]
    ]
    return Section(
        "data",
        "The data",
        __file__,
        {
            "parts": Table(("part", "images"), parts, "small"),
            "largest": max(f.classes, key=lambda c: c.train),
            "smallest": min(f.classes, key=lambda c: c.train),
            "copied_images": sum(len(g.images) for g in f.duplicates),
            "copied": len(f.duplicates),
            "copies": Table(("image", "the same picture", "classes", "parts"), copies, "cards text"),
            "skipped": len(f.skipped),
            "unused": Table(("file", "reason"), [[name(s.name), s.reason] for s in f.skipped[:_SHOWN]], "cards text"),
            "shown": _SHOWN,
        },
    )
