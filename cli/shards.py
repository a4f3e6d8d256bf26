"""How far a store is, for people and for machines: what `tlc features plan` and `status` print."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from .output import put, size, table

if TYPE_CHECKING:
    from tlc_edge.compiler.shards.costs import Worker
    from tlc_edge.compiler.shards.stored import State

_SHOWN = 10
WORKERS = ("worker", "shards", "images", "read", "seconds", "processor")
"""What is told of a worker."""


def workers_document(workers: Sequence[Worker]) -> list[dict[str, Any]]:
    """Return what each worker did, as `--json` prints it."""
    return [{**asdict(w), "seconds": round(w.seconds, 3), "processor": round(w.processor, 3)} for w in workers]


def workers_rows(workers: Sequence[Worker]) -> list[tuple[str, ...]]:
    """Return what each worker did, as cells of `WORKERS`."""
    return [
        (
            w.worker or "unknown",
            f"{w.shards}",
            f"{w.images:,}",
            size(w.read),
            f"{w.seconds:.1f}",
            f"{w.processor:.1f}",
        )
        for w in workers
    ]


def told_workers(workers: Sequence[Worker]) -> str:
    """Return in words what all workers did together."""
    shards, read, seconds, processor = (
        sum(getattr(w, name) for w in workers) for name in ("shards", "read", "seconds", "processor")
    )
    by = "1 worker" if len(workers) == 1 else f"{len(workers)} workers"
    made = "1 shard" if shards == 1 else f"{shards} shards"
    return f"{made} by {by}; {size(read)} read, {seconds:.1f} s, {processor:.1f} s of processor"


def states_document(store: str, found: Sequence[State]) -> dict[str, Any]:
    """Return what `--json` prints."""
    passes = [{"pass": s.number, **{k: v for k, v in asdict(s).items() if k != "number"}} for s in found]
    more = [{"missing": [*s.missing], "workers": workers_document(s.workers)} for s in found]
    return {"store": store, "passes": [{**one, **two} for one, two in zip(passes, more, strict=True)]}


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
