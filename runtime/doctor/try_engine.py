"""Try one engine, in a process of its own: `python -P -m tlc_edge.runtime.doctor.try_engine ENGINE [BUNDLE [ALLOWED]]`.

ALLOWED is there where who asks has been told already that the bundle is not trusted, and goes on. Prints whether it
works, and what it said, as a JSON list. An engine that is built for another processor, or for another numpy, takes the
process down before that.
"""

from __future__ import annotations

import json
import sys
from time import perf_counter

import numpy as np

from tlc_edge.runtime.bundle.bundle import Bundle
from tlc_edge.runtime.engines.golden import golden
from tlc_edge.runtime.engines.open import KINDS, EngineKind, open_engine, open_model
from tlc_edge.runtime.engines.selftest import failure, selftest
from tlc_edge.runtime.engines.tiny_models import MODELS
from tlc_edge.runtime.errors import TlcError

_RUNS = 5


def try_engine(name: str, bundle: str | None = None, allowed: str | None = None) -> tuple[bool, str]:
    """Load an engine and run a tiny model on it, or a bundle's golden samples; return whether it works, and how."""
    (kind,) = (k for k in KINDS if k.name == name)
    try:
        if bundle is None:
            return _run_tiny(kind)
        return _run_golden(Bundle.open(bundle, allow_unsigned=(lambda _: None) if allowed else None), name)
    except TlcError as e:
        return False, str(e)


def _run_tiny(kind: EngineKind) -> tuple[bool, str]:
    engine = open_model(kind, MODELS[kind.format], 1, ("embedding",), "a model of three numbers")
    (half,) = engine.run(np.array([[[0, 2, 4]]], np.uint8))
    right = half.ravel().tolist() == [0.0, 1.0, 2.0]
    return right, "runs a model of three numbers" + ("" if right else f", but makes {half.ravel().tolist()} of 0, 2, 4")


def _run_golden(bundle: Bundle, name: str) -> tuple[bool, str]:
    engine, model = open_engine(bundle, name)
    result = selftest(bundle, engine, model)
    if not result.passed:
        return False, failure(bundle, result)
    image = golden(bundle, model.file)[0][0]
    start = perf_counter()
    for _ in range(_RUNS):
        engine.run(image)
    took = (perf_counter() - start) / _RUNS * 1e3
    return True, f"{model.file} ({model.scheme}): {result.images} golden samples passed, {took:.1f} ms per image"


if __name__ == "__main__":
    print(json.dumps(try_engine(*sys.argv[1:])))
