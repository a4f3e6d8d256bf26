"""Features as they are kept and trained on: rounded to float16, which halves their bytes and costs no accuracy.

Rounded in every build, whether it computes them or reads them, so that both train on the same numbers.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.records import Floats

_SMALLEST = 2.0**-6
"""Of a vector's largest feature; below, float16 would round it by more than 2**-19 of that."""


def rounded(features: Floats) -> Floats:
    """Return features [..., F] with the values that float16 has, still in float32.

    A vector that float16 cannot hold stays as it is: it is not finite, exceeds 65504, or is all but zero.
    """
    with np.errstate(over="ignore"):
        half = features.astype(np.float16).astype(np.float32)
    peak = np.abs(features).max(axis=-1, keepdims=True, initial=0)
    held = np.isfinite(half).all(axis=-1, keepdims=True) & ((peak >= _SMALLEST) | (peak == 0))
    return np.where(held, half, features)


def packed(features: Floats) -> NDArray[np.float16] | Floats:
    """Return features in float16 where that has each of them, else as they are: nothing is lost in either."""
    with np.errstate(over="ignore"):
        half = features.astype(np.float16)
    return half if np.array_equal(half.astype(np.float32), features) else features


def unpacked(content: bytes, width: int) -> Floats:
    """Return `width` features of the bytes of `packed` ones."""
    kind = np.float16 if len(content) == 2 * width else np.float32
    return np.frombuffer(content, kind).astype(np.float32)
