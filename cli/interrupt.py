"""Ctrl-C that cannot get lost on the way."""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType
from typing import Any

MESSAGE = "Interrupted; nothing was left half-written."


class Interrupt:
    """While entered, Ctrl-C raises KeyboardInterrupt as ever and is remembered too.

    Python drops an exception that is raised in a destructor or in a callback of native code, and some
    libraries turn it into one of their own. So long work asks now and then whether there was one. One
    that is entered inside another shares what the other saw.
    """

    def __init__(self) -> None:
        self.seen = False
        self._active = False
        self._outer: Interrupt | None = None
        self._hook = sys.unraisablehook

    def check(self) -> None:
        """Raise KeyboardInterrupt if Ctrl-C was pressed, however often it has been raised before."""
        if self.seen or (self._outer is not None and self._outer.seen):
            raise KeyboardInterrupt

    def __enter__(self) -> Interrupt:
        # Where Ctrl-C is ignored (nohup) or is someone else's, it stays so.
        handler = signal.getsignal(signal.SIGINT)
        owner = getattr(handler, "__self__", None)
        self._outer = owner if isinstance(owner, Interrupt) else None
        ours = handler is signal.default_int_handler
        self._active = ours and threading.current_thread() is threading.main_thread()
        if self._active:
            signal.signal(signal.SIGINT, self._handle)
            self._hook, sys.unraisablehook = sys.unraisablehook, self._unraisable
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if self._active:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            sys.unraisablehook = self._hook
        if kind is not None:
            self.check()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.seen = True
        signal.default_int_handler(number, frame)

    def _unraisable(self, unraisable: Any) -> None:
        """Print nothing about the one that Python dropped: `check` raises it again."""
        if unraisable.exc_type is not KeyboardInterrupt:
            self._hook(unraisable)
