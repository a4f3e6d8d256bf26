"""How long a file takes for an image on this machine.

The figure is not the same twice, so it never goes into a bundle.
"""

from __future__ import annotations

import statistics
import time

from tlc_edge.compiler.data.decode import Images
from tlc_edge.runtime.engines.open import Engine

RUNS = 12


def median_milliseconds(engine: Engine, images: Images) -> float:
    """Return the median milliseconds of a run over images [N, H, W, C], N at least 1, the first run left out."""
    seconds: list[float] = []
    some = [images[i] for i in range(min(RUNS + 1, len(images)))]
    for i in range(RUNS + 1):
        start = time.perf_counter()
        engine.run(some[i % len(some)])
        seconds.append(time.perf_counter() - start)
    return 1000 * statistics.median(seconds[1:])
