"""Map of the embeddings."""

from __future__ import annotations

from tlc_edge.compiler.report.evidence import Pictures
from tlc_edge.compiler.report.figures import key, map_plot, names_fit
from tlc_edge.compiler.report.findings import LISTED, Findings
from tlc_edge.compiler.report.section import Section


def section(f: Findings, _pictures: Pictures | None) -> Section:
    """Return the embeddings in the plane, with a legend of the classes."""
    shown = f.study.map
    return Section(
        "map",
        "Map of the embeddings",
        __file__,
        {
            "plot": map_plot(f),
            "train": len(shown.train),
            "held_out": len(shown.held_out),
            "method": shown.method,
            "named": names_fit(f.labels),
            "legend": [(key(i), label) for i, label in enumerate(f.labels)] if len(f.labels) <= LISTED else [],
        },
    )
