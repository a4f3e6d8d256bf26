"""The sections of the page, in their order: one module each, with a template of the same name beside it.

May import: the report's parts, never the page.
"""

from __future__ import annotations

from collections.abc import Sequence

from tlc_edge.compiler.report.section import Make

from . import (
    accuracy,
    calibration,
    classes,
    confusion,
    curve,
    data,
    embedding_map,
    layers,
    look,
    made,
    parity,
    sizes,
    unknown,
)

SECTIONS: Sequence[Make] = (
    accuracy.section,
    classes.section,
    confusion.section,
    look.section,
    calibration.section,
    curve.section,
    embedding_map.section,
    sizes.section,
    parity.section,
    layers.section,
    unknown.section,
    data.section,
    made.section,
)
