"""How far a store is, for people and for machines: what `tlc features plan` and `status` print."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from .output import put, size, table

if TYPE_CHECKING:
    from tlc_edge.compiler.shards.stored import State

_SHOWN = 10


def states_document(store: str, found: Sequence[State]) -> dict[str, Any]:
    """Return what `--json` prints."""
    passes = [{"pass": s.number, **{k: v for k, v in asdict(s).items() if k != "number"}} for s in found]
    return {"store": store, "passes": [{**one, "missing": [*s.missing]} for one, s in zip(passes, found, strict=True)]}


def print_states(store: str, found: Sequence[State]) -> None:
    """Print how far each pass is, and what to do next."""
    rows = [
        [
            s.number,
            s.shards,
            s.done,
            s.images,
            f"{s.read_images:,}",
            size(s.read),
            f"{s.seconds:.0f}",
            f"{s.processor:.0f}",
        ]
        for s in found
    ]
    put(*table(rows, ["pass", "shards", "done", "listed", "images", "read", "seconds", "processor"]))
    missing = next((s for s in found if s.missing), None)
    if missing is None:
        then = f"tlc features plan {store}" if len(found) == 1 else f"tlc build --features {store} --target NAME -o OUT"
        put(f"All shards are there. Next: {then}")
        return
    some = ", ".join(map(str, missing.missing[:_SHOWN])) + (" …" if len(missing.missing) > _SHOWN else "")
    put(f"Missing in pass {missing.number}: {some}. Next: tlc features run {store}")
