"""Would more images help?"""

from __future__ import annotations

from tlc_edge.compiler.report.evidence import Pictures
from tlc_edge.compiler.report.figures import curve_plot
from tlc_edge.compiler.report.findings import Findings
from tlc_edge.compiler.report.section import Section


def section(f: Findings, _pictures: Pictures | None) -> Section:
    """Return the learning curve, or why there is none."""
    drawn = f.study.curve
    return Section(
        "curve",
        "Would more images help?",
        __file__,
        {
            "skipped": drawn.skipped,
            "plot": None if drawn.skipped else curve_plot(drawn),
            "head": drawn.head,
            "own": f.study.train_accuracy,
        },
    )
