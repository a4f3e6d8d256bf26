"""Keep Pillow's warnings and its log off the terminal, in any number of threads."""

from __future__ import annotations

import contextlib
import functools
import threading
import warnings
from collections.abc import Generator

from tlc_edge.runtime.forks import Forks


class _Filters:
    """Those of Python's warnings while any thread reads a picture.

    `catch_warnings` alone is not safe in threads: two that overlap restore each other's filters, and
    the wrong ones stay. So the first one in sets the filter, and the last one out takes it away.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.depth = 0
        self.usual: warnings.catch_warnings[None] | None = None

    def enter(self) -> None:
        with self.lock:
            if self.depth == 0:
                self.usual = warnings.catch_warnings()
                self.usual.__enter__()
                warnings.filterwarnings("ignore", module=r"PIL\.")
            self.depth += 1

    def leave(self) -> None:
        with self.lock:
            self.depth -= 1
            if self.depth == 0:
                self.restore()

    def restore(self) -> None:
        """Bring the usual ones back; in the child of a fork whoever read a picture is not there."""
        if self.usual is not None:
            self.usual.__exit__(None, None, None)
        self.depth, self.usual = 0, None


@contextlib.contextmanager
def quiet_pillow() -> Generator[None, None, None]:
    """Ignore Pillow's warnings (a damaged EXIF block, an odd palette) while any thread is in here."""
    _hush_log()
    _filters.enter()
    try:
        yield
    finally:
        _filters.leave()


@functools.cache
def _hush_log() -> None:
    """Give Pillow's log, in which stands what it then raises, a handler; without one Python prints it."""
    import logging  # not above: arrays, as cameras give them, do without

    logging.getLogger("PIL").addHandler(logging.NullHandler())


def _renew(those: list[_Filters]) -> None:
    for one in those:
        one.restore()


_filters = _Filters()
_all: Forks[_Filters] = Forks(2, lambda one: one.lock.acquire(), lambda one: one.lock.release(), _renew)
_all.add(_filters)
