"""How far to trust a probability."""

from __future__ import annotations

from tlc_edge.compiler.report.evidence import Pictures
from tlc_edge.compiler.report.figures import reliability_plot
from tlc_edge.compiler.report.findings import Findings
from tlc_edge.compiler.report.section import Section


def section(f: Findings, _pictures: Pictures | None) -> Section:
    """Return the reliability diagram of each file; none without a head."""
    measured = [(x.file, x.reliability) for x in f.files if x.reliability]
    plots = [(file, reliability, reliability_plot(reliability, file)) for file, reliability in measured]
    return Section("calibration", "How far to trust a probability", __file__, {"plots": plots})
