"""Shares, cosines and answers."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.records import Floats, Outputs


def top_class(outputs: Outputs) -> NDArray[np.int64]:
    """Return the class that a head names for each image, [N]."""
    return np.asarray(np.argmax(outputs.probabilities, axis=1), np.int64)


def cosines(a: Floats, b: Floats) -> Floats:
    """Return the cosine of each row of `a` to the same row of `b`, [N]."""
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    result: Floats = np.einsum("ij,ij->i", a, b) / np.maximum(lengths, np.finfo(np.float32).tiny)
    return result


def wilson(correct: int, total: int, z: float = 1.96) -> tuple[float, float]:
    """Return the 95 % confidence interval of a share (Wilson 1927)."""
    if total == 0:
        return 0.0, 1.0
    p = correct / total
    centre = (p + z * z / (2 * total)) / (1 + z * z / total)
    half = z * math.sqrt(p * (1 - p) / total + z * z / (4 * total * total)) / (1 + z * z / total)
    return max(0.0, centre - half), min(1.0, centre + half)
