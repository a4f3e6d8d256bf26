"""The layers of what was built, against the float trunk: for the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from tlc_edge.compiler.verify.build_layers import IMAGES
from tlc_edge.compiler.verify.layer_errors import LayerError, worst_first

from .html import table

_SHOWN = 20


def layer_tables(layers: Mapping[str, Sequence[LayerError]]) -> str:
    """Return, as HTML, a table a file of its noisiest layers."""
    if not layers:
        return "<p>Every file is float32: no layer was rounded.</p>"
    return "".join(_table(file, errors) for file, errors in layers.items())


def _table(file: str, errors: Sequence[LayerError]) -> str:
    rows = [
        [escape(e.name), escape(e.operation), f"{e.snr:.1f}", f"{e.cosine:.4f}", f"{100 * e.added:.2f}"]
        for e in worst_first(errors)[:_SHOWN]
    ]
    rest = f" The {_SHOWN} noisiest of {len(errors)}; report.json has all." if len(errors) > _SHOWN else ""
    caption = (
        f"{escape(file)}: each layer of the trunk beside the float one, on {IMAGES} training images, the noisiest "
        f"first. Noise of its own is what came in with the layer, in percent of its signal.{rest}"
    )
    return table(caption, ("layer", "operation", "SNR, dB", "cosine", "noise of its own"), rows)
