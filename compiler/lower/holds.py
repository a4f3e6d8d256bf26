"""Whether a file holds what its scheme says: one rule for every format, on the counts that its content reader makes."""

from __future__ import annotations

from collections import Counter

from tlc_edge.targets.schemes import Holds


def holds(
    wanted: Holds, activations: Counter[str], weights: Counter[str], large: Counter[str], attached: bool = False
) -> bool:
    """Return whether a file is what it is called.

    Args:
        wanted: what a file of its scheme must be made of.
        activations: operations by the type in which they compute.
        weights: bytes of weights by type.
        large: the same, of large constants alone.
        attached: head and neck are on it, whose operations may be float32 in any number.
    """
    kept = large if wanted.large_only else weights
    return (
        (wanted.activations is None or set(+activations) <= wanted.activations)
        and (wanted.weights is None or set(+kept) <= wanted.weights)
        and all(any(activations[kind] for kind in group) for group in wanted.computes)
        and all(weights[kind] for kind in wanted.keeps)
        and weights["float32"] <= wanted.float_weights * weights.total()
        and (attached or activations["float32"] <= wanted.float_operations * activations.total())
    )


def said(counts: Counter[str]) -> str:
    """Return counts as an error says them, the most first."""
    return ", ".join(f"{name} {count:,}" for name, count in counts.most_common())
