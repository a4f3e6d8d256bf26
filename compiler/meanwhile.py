"""Meanwhile: what later steps will look for is made beside a step that leaves a core idle."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Generator

from tlc_edge.runtime.progress import Count

from .worker import cores


class _OverError(Exception):
    """The step is done: so is what was made beside it."""


def spare(threads: int) -> int:
    """Return how many threads may run beside a step that keeps one of `threads` (0: one per core) busy."""
    return min(threads or cores(), cores()) - 1


@contextlib.contextmanager
def meanwhile(work: Callable[[int, Count], object], threads: int) -> Generator[None]:
    """Do work in threads of its own while a block runs; when the block ends, the work ends at its next count.

    It is given how many threads it may take, and a function to count with. What goes wrong in it is left to the step
    that it is done for. Where no thread is to spare, nothing is done.
    """
    if spare(threads) < 1:
        yield
        return
    over = threading.Event()

    def count(_done: int, _total: int) -> None:
        if over.is_set():
            raise _OverError

    def run() -> None:
        with contextlib.suppress(Exception):
            work(spare(threads), count)

    beside = threading.Thread(target=run, name="meanwhile", daemon=True)
    beside.start()
    try:
        yield
    finally:
        over.set()
        beside.join()
