"""What a Classifier loads only when it is first needed, loaded before a fork where another thread may be at it.

A module that one thread loads while another forks is never whole in the child, which waits for it for ever.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from typing import Any

from tlc_edge.runtime.images.plugins import load_plugins

_MODULES = (
    "concurrent.futures.thread",
    "difflib",
    "hashlib",
    "logging",
    "numpy.ma",
    "PIL.ImageFile",
    "PIL.ImageOps",
    "PIL.JpegImagePlugin",
    "tempfile",
    "zipfile",
    "tlc_edge.runtime.gallery.gallery",
    "tlc_edge.runtime.gallery.records",
    "tlc_edge.runtime.images.nothing",
    "tlc_edge.runtime.knn.base_check",
    "tlc_edge.runtime.knn.enroll_warnings",
)
"""Those that predicting, teaching and telling what is taught load late, whatever the picture."""


_LOCKS = (("logging", "_lock"), ("concurrent.futures.thread", "_global_shutdown_lock"))
"""Modules that have hooks of their own at a fork: before it they take this lock, after it they let it go."""


def load_late() -> None:
    """Load them all, each whole when this returns, whoever began with it; nothing where no other thread is.

    To be called before a fork, by the thread that forks.
    """
    if len(sys._current_frames()) == 1:  # pyright: ignore[reportPrivateUsage] - threads of C libraries too
        return
    too_late = [(name, lock) for name, lock in _LOCKS if not _is_whole(name)]
    log: Any = getattr(sys.modules.get("logging"), "_lock", None)
    held = log if log is not None and log._is_owned() else None
    if held is not None:  # by its hook, and what another thread is loading may log: PIL.ImageFile asks for a logger
        held.release()
    try:
        for name in _MODULES:
            with contextlib.suppress(ImportError):  # whoever needs it says so
                importlib.import_module(name)
        load_plugins()
    finally:
        if held is not None:
            held.acquire()
        for name, lock in too_late:
            _take(getattr(sys.modules.get(name), lock, None))


def _is_whole(name: str) -> bool:
    return name in sys.modules and not getattr(sys.modules[name].__spec__, "_initializing", False)


def _take(lock: Any) -> None:
    """Do what the module's hook would have done, which came too late for this fork; it lets the lock go afterwards."""
    if lock is not None and not (lock._is_owned() if hasattr(lock, "_is_owned") else lock.locked()):
        lock.acquire()
