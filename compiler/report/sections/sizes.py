"""Sizes and the arithmetic of an image."""

from __future__ import annotations

from typing import Any

from tlc_edge.compiler.report.evidence import Pictures
from tlc_edge.compiler.report.findings import Findings
from tlc_edge.compiler.report.section import Section
from tlc_edge.compiler.report.text import Table


def section(f: Findings, _pictures: Pictures | None) -> Section:
    """Return each file's size, and what others measured on such a device."""
    macs = f.study.macs
    work = "not countable" if macs is None else f"{macs / 1e6:,.1f} million"
    files = [[x.file, x.scheme, x.engine, f"{x.bytes:,}", work] for x in f.files]
    expected: Any = f.manifest.target.get("expect", ())
    others = [[str(e["what"]), f"{e['milliseconds']:g}", str(e["source"])] for e in expected]
    return Section(
        "sizes",
        "Sizes",
        __file__,
        {
            "files": Table(("model", "scheme", "engine here", "bytes", "multiply-accumulates"), files),
            "others": Table(("what", "milliseconds", "source"), others, "cards text"),
        },
    )
