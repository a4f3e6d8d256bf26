"""Layer by layer: the trunk of each quantized file against the float one."""

from __future__ import annotations

from tlc_edge.compiler.report.evidence import Pictures
from tlc_edge.compiler.report.findings import Findings
from tlc_edge.compiler.report.section import Section
from tlc_edge.compiler.report.text import Table, number
from tlc_edge.compiler.verify.layer_errors import LayerError, worst_first
from tlc_edge.compiler.verify.trunk_layers import IMAGES

_SHOWN = 20
_HEAD = ("layer", "operation", "SNR, dB", "cosine", "noise of its own")


def section(f: Findings, _pictures: Pictures | None) -> Section:
    """Return, for each file that is not float32, its noisiest layers."""
    files = [
        (file, len(errors), Table(_HEAD, list(map(_row, worst_first(errors)[:_SHOWN]))), f.corrections.get(file))
        for file, errors in f.layers.items()
    ]
    return Section("layers", "Layer by layer", __file__, {"files": files, "images": IMAGES, "shown": _SHOWN})


def _row(e: LayerError) -> list[str]:
    return [e.name, e.operation, number(e.snr, 1), number(e.cosine, 4), number(100 * e.added, 2)]
