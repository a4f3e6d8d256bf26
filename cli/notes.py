"""What is said on stderr of a backbone that was loaded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .output import say, table

if TYPE_CHECKING:
    from tlc_edge.compiler.records import Restored


def say_notes(notes: Sequence[str], restored: Sequence[Restored]) -> None:
    """Say on stderr what had to be assumed, and what a checkpoint gave."""
    for note in notes:
        say(f"Note: {note}")
    if restored:
        counts = Counter(r.outcome for r in restored)
        say(*table([(r.variable, r.outcome, r.reason) for r in restored], ("variable", "", "why")))
        said = ", ".join(f"{counts[k]} {text}" for k, text in _OUTCOMES.items() if counts[k])
        say(f"Restored from the checkpoint: {said}")


_OUTCOMES = {
    "restored": "restored",
    "initial": "kept their initial values as asked",
    "shape": "did not fit by shape and kept their initial values",
    "missing": "were not in it and kept their initial values",
}
