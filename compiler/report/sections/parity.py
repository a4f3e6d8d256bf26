"""File against file."""

from __future__ import annotations

from tlc_edge.compiler.report.evidence import Pictures
from tlc_edge.compiler.report.findings import Findings
from tlc_edge.compiler.report.section import Section
from tlc_edge.compiler.report.text import Table, number

_HEAD = ("file", "against", "lowest cosine", "mean cosine", "largest probability difference", "same answer")


def section(f: Findings, _pictures: Pictures | None) -> Section:
    """Return every two files of the build, other targets' too, and the float graph, beside each other."""
    rows = [
        [
            pair.one,
            pair.other,
            number(pair.lowest_cosine, 4),
            number(pair.mean_cosine, 4),
            number(pair.largest_difference, 3),
            "-" if pair.agreement is None else f"{100 * pair.agreement:.0f} %",
        ]
        for pair in f.parity.pairs
    ]
    return Section(
        "parity", "File against file", __file__, {"images": f.parity.images, "table": Table(_HEAD, rows, "cards names")}
    )
