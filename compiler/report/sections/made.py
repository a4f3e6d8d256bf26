"""How it was made: what was chosen and why, and all settings and versions."""

from __future__ import annotations

from tlc_edge.compiler.report.evidence import Pictures
from tlc_edge.compiler.report.findings import Findings
from tlc_edge.compiler.report.section import Section
from tlc_edge.compiler.report.settings import to_manifest
from tlc_edge.compiler.report.text import Table


def section(f: Findings, _pictures: Pictures | None) -> Section:
    """Return the choices, and what else the manifest tells of the build."""
    m = f.manifest
    choices = [[c.what, c.value, c.why] for c in f.choices]
    rows = [
        ("weights", m.backbone.get("source", "")),
        ("weights licence", m.backbone.get("licence", "")),
        *((f"head: {key}", value) for key, value in m.head.items()),
        *to_manifest(f.settings).items(),
        ("fingerprint", m.fingerprint),
        *m.versions.items(),
    ]
    return Section(
        "made",
        "How it was made",
        __file__,
        {
            "choices": Table(("what", "chosen", "because"), choices, "cards text"),
            "settings": Table(("setting", "value"), [[key, str(value)] for key, value in rows], "cards text"),
        },
    )
