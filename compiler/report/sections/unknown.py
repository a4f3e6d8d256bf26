"""Unknown: how often what is known was not recognized, and what is foreign was not noticed."""

from __future__ import annotations

from typing import Any

from tlc_edge.compiler.report.evidence import Pictures
from tlc_edge.compiler.report.findings import Findings
from tlc_edge.compiler.report.section import Section

_SAID = {
    "small": "small (240 pixels) and compressed",
    "compressed": "compressed (JPEG at quality 60)",
    "blurred": "blurred",
    "darker": "darker",
}


def section(f: Findings, _pictures: Pictures | None) -> Section:
    """Return the mistakes on test images and on foreign ones."""
    metrics: Any = f.manifest.metrics
    counts = metrics["unknown"]
    return Section(
        "unknown",
        "Unknown",
        __file__,
        {
            "rate": f"{100 * f.manifest.unknown.rate:g}",
            "images": counts["test_images"],
            "false_alarms": counts["false_alarms"],
            "foreign_images": counts.get("foreign_images", 0),
            "foreign": counts.get("foreign", ""),
            "false_accepts": counts.get("false_accepts", 0),
            "shown": counts.get("none_of_these"),
            "looks": [(_SAID.get(look, look), *found.values()) for look, found in counts.get("looks", {}).items()],
        },
    )
