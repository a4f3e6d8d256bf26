"""The layers of what was built, against the float trunk: for the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from .file_kinds import TrunkKind
from .layer_errors import LayerError, measure_layers, worst_first
from .records import LoweredTrunk
from .report_tables import table
from .trunk_files import TrunkFiles

_IMAGES = 4  # more take time in every build, and change the figures little
_SHOWN = 20


def trunk_layers(
    files: TrunkFiles, trunks: Mapping[TrunkKind, LoweredTrunk], images: NDArray[np.uint8]
) -> dict[TrunkKind, tuple[LayerError, ...]]:
    """Return the layers of each trunk that is not float32, by its own format and scheme; `images` [N, H, W, C]."""
    quantized = [trunk for trunk in trunks.values() if trunk.scheme != "float32"]
    if not quantized:
        return {}
    reference = (files.get("tflite", "float32").data, "tflite")
    return {(t.format, t.scheme): measure_layers(reference, (t.data, t.format), images[:_IMAGES]) for t in quantized}


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
        f"{escape(file)}: each layer of the trunk beside the float one, on {_IMAGES} training images, the noisiest "
        f"first. Noise of its own is what came in with the layer, in percent of its signal.{rest}"
    )
    return table(caption, ("layer", "operation", "SNR, dB", "cosine", "noise of its own"), rows)
