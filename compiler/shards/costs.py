"""Costs: what each shard took, kept beside it, and what that is for each worker. Nothing depends on it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace

from tlc_edge.runtime.errors import DataError

from .store import COSTS, Store, to_json

_AT_ONCE = 16


@dataclass(frozen=True)
class Cost:
    """What a shard took."""

    images: int
    skipped: int
    read: int
    """Bytes of images, or of the files that hold them."""
    seconds: float
    processor: float
    """Seconds of it, of all threads."""
    worker: str = ""
    """Who made it: HOST:PID."""


@dataclass(frozen=True)
class Worker:
    """What one worker did."""

    worker: str
    """HOST:PID; empty for shards of which it is not known."""
    shards: int = 0
    images: int = 0
    read: int = 0
    """Bytes."""
    seconds: float = 0.0
    processor: float = 0.0


@dataclass(frozen=True)
class Costs:
    """What the features of a build took, beside its own steps."""

    read: int = 0
    """Bytes that the build itself got from places that are not on this machine."""
    workers: tuple[Worker, ...] = field(default=())
    """That made the shards which it read, whenever that was."""


def worker_name() -> str:
    """Return what this process is called in costs."""
    return f"{socket.gethostname()}:{os.getpid()}"


def write_cost(store: Store, recipe: str, cost: Cost) -> None:
    """Keep what a shard took.

    Raises:
        DataError: it cannot be written.
    """
    store.write(f"{COSTS}/{recipe}.json", to_json(asdict(cost)))


def read_costs(store: Store, recipes: Iterable[str]) -> list[Cost]:
    """Return what these shards took, as far as it was kept."""
    kept = store.names(COSTS)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(lambda name: _cost(store, name), [n for r in recipes if (n := f"{r}.json") in kept]))


def by_worker(costs: Iterable[Cost]) -> tuple[Worker, ...]:
    """Return what each worker did, in the order of their names."""
    found: dict[str, Worker] = {}
    for cost in costs:
        had = found.get(cost.worker, Worker(cost.worker))
        found[cost.worker] = replace(
            had,
            shards=had.shards + 1,
            images=had.images + cost.images,
            read=had.read + cost.read,
            seconds=had.seconds + cost.seconds,
            processor=had.processor + cost.processor,
        )
    return tuple(found[name] for name in sorted(found))


def _cost(store: Store, name: str) -> Cost:
    """Return what a shard took; zeros where the file is damaged, as nothing depends on it."""
    try:
        kept = store.document(f"{COSTS}/{name}")
        images, skipped, read = (int(kept[key]) for key in ("images", "skipped", "read"))
        seconds, processor = (float(kept[key]) for key in ("seconds", "processor"))
        return Cost(images, skipped, read, seconds, processor, str(kept.get("worker", ""))[:300])
    except (DataError, KeyError, TypeError, ValueError, AttributeError, OverflowError):
        return Cost(0, 0, 0, 0.0, 0.0)
