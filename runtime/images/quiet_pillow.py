"""Keep Pillow's warnings and its log off the terminal, in any number of threads."""

from __future__ import annotations

import contextlib
import functools
import threading
import warnings
from collections.abc import Generator

_quiet_lock = threading.Lock()
_quiet_depth = 0
_quiet_filters: warnings.catch_warnings[None] | None = None


@contextlib.contextmanager
def quiet_pillow() -> Generator[None, None, None]:
    """Ignore Pillow's warnings (a damaged EXIF block, an odd palette) while any thread is in here.

    `catch_warnings` alone is not safe in threads: two that overlap restore each other's filters, and
    the wrong ones stay. So the first one in sets the filter, and the last one out takes it away.
    """
    global _quiet_depth, _quiet_filters
    _hush_log()
    with _quiet_lock:
        if _quiet_depth == 0:
            _quiet_filters = warnings.catch_warnings()
            _quiet_filters.__enter__()
            warnings.filterwarnings("ignore", module=r"PIL\.")
        _quiet_depth += 1
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet_depth -= 1
            if _quiet_depth == 0 and _quiet_filters is not None:
                _quiet_filters.__exit__(None, None, None)
                _quiet_filters = None


@functools.cache
def _hush_log() -> None:
    """Give Pillow's log, in which stands what it then raises, a handler; without one Python prints it."""
    import logging  # not above: arrays, as cameras give them, do without

    logging.getLogger("PIL").addHandler(logging.NullHandler())
