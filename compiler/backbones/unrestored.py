"""What a checkpoint did not give to a network: a trunk with that in it would be another network without a word."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from tlc_edge.compiler.records import Backbone, Restored
from tlc_edge.runtime.errors import BuildError


def lacking(restored: Sequence[Restored], merged: Mapping[str, str]) -> dict[str, Restored]:
    """Return the layers that were to be restored and were not, by the names that they have in a folded network."""
    lost = [r for r in restored if r.outcome in ("missing", "shape")]
    return {merged.get(name, name): r for r in reversed(lost) for name in [_layer(r)]}


def untrained(restored: Sequence[Restored]) -> frozenset[str]:
    """Return the layers that do not have all of a checkpoint's values, asked for or not."""
    return frozenset(_layer(r) for r in restored if r.outcome != "restored")


def check_restored(backbone: Backbone, layers: Collection[str]) -> None:
    """Refuse a trunk of these layers if one of them should have been restored and was not.

    Raises:
        BuildError: one was not.
    """
    lost = [r for layer, r in lacking(backbone.restored, backbone.merged).items() if layer in layers]
    if lost:
        more = f" (and {len(lost) - 1} more layers)" if len(lost) > 1 else ""
        raise BuildError(
            f"{backbone.name}: {lost[0].variable} was not restored{more}: {lost[0].reason}; give the checkpoint of "
            "this network, or restore the other layers by their names (--restore PATTERN) if what the function gave "
            "these is meant to stay"
        )


def _layer(row: Restored) -> str:
    return row.variable.split("/")[-2]
