"""SIGTERM, by which service managers end what they have started, as a Ctrl-C with time to finish."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Generator
from types import FrameType

from .interrupt import MESSAGE
from .output import say


@contextlib.contextmanager
def sigterm_as_interrupt() -> Generator[None]:
    """Raise Terminated on SIGTERM while the block runs, then end by that signal: a shell reads 143, systemd a good end.

    Where SIGTERM is someone else's already, it stays so.
    """
    mine = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    if not mine:
        yield
        return
    came: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        from tlc_edge.runtime.watch.outbox import Terminated

        came.append(number)
        ctrl_c = signal.getsignal(signal.SIGINT)
        try:
            if callable(ctrl_c):
                ctrl_c(number, frame)  # which knows where an exception would do harm, and has it wait
                return
        except KeyboardInterrupt:
            pass
        raise Terminated

    signal.signal(signal.SIGTERM, handle)
    try:
        yield
    except KeyboardInterrupt:
        if came:
            say(MESSAGE)
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(OSError, ValueError):
                    stream.flush()
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)
        raise
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
