"""What a web page needs to use the models: labels, and how an image becomes their input, in one JSON file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from tlc_edge.compiler.records import Fused, Lowered
from tlc_edge.runtime.engines.open import outputs_for

FILE = "labels.json"


def web_labels(fused: Fused, files: Sequence[Lowered]) -> dict[str, bytes]:
    """Return `labels.json`: a page's engine shows neither the labels nor the preprocessing inside a model."""
    spec = fused.preprocessing
    document = {
        "labels": list(fused.labels),
        "input": {
            "name": "image",
            "dtype": "uint8",
            "shape": [1, spec.height, spec.width, spec.channels],
            "channels": "RGB" if spec.channels == 3 else "grey",
            **{key: value for key, value in asdict(spec).items() if key in ("fit", "filter", "passes", "background")},
        },
        "outputs": list(outputs_for(fused.labels)),
        "embedding_width": fused.neck.width,
        "models": {file.info.file: {"format": file.info.format, "scheme": file.info.scheme} for file in files},
    }
    return {FILE: (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode()}
