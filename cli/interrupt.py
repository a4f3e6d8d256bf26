"""Ctrl-C that cannot get lost on the way."""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType
from typing import Any

MESSAGE = "Interrupted; nothing was left half-written."

_IMPORT = ("<frozen importlib._bootstrap>", "<frozen importlib._bootstrap_external>")


class Interrupt:
    """While entered, Ctrl-C raises KeyboardInterrupt, if need be a moment later, and is remembered too.

    In the middle of an import it would come out as something else: native modules print a traceback of it, or make
    an ImportError of it, and the locks of modules may stay as they were. There it waits until the import machinery
    runs a module's own lines again. Python drops an exception that is raised in a destructor, and then it is raised
    once more. Some libraries turn it into an error of their own: so long work asks now and then whether there was
    one. An Interrupt that is entered inside another shares what the other saw.
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
            self._hook, sys.unraisablehook = sys.unraisablehook, self._unraisable
            signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if self._active:
            if signal.getsignal(signal.SIGINT) == self._handle:
                signal.signal(signal.SIGINT, signal.default_int_handler)
            self._watch(False)
            sys.unraisablehook = self._hook
        if kind is not None:
            self.check()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.seen = True
        if _importing(frame):
            self._watch(True)
        else:
            self._watch(False)
            signal.default_int_handler(number, frame)

    def _watch(self, on: bool) -> None:
        """Have Python tell of every call and return from now on, or of none any more; another's profiler stays."""
        if sys.getprofile() in (None, self._event):
            sys.setprofile(self._event if on else None)

    def _event(self, frame: FrameType, _event: str, _argument: object) -> None:
        """Raise the KeyboardInterrupt that had to wait, at the first call or return where it can be raised."""
        if frame.f_code.co_filename != __file__ and not _importing(frame):
            self._watch(False)
            raise KeyboardInterrupt

    def _unraisable(self, unraisable: Any) -> None:
        """Print nothing about the one that Python dropped, and raise it again as soon as may be."""
        if unraisable.exc_type is KeyboardInterrupt:
            self._watch(True)
        else:
            self._hook(unraisable)


def _importing(frame: FrameType | None) -> bool:
    """Return whether the import machinery itself is at work in a frame, or a native module is being started.

    A module that is being imported is no such place while its own lines run: an exception leaves it in good order.
    """
    innermost = True
    while frame is not None:
        code = frame.f_code
        if code.co_filename in _IMPORT:
            # The one function of it that does nothing but call what is not the machinery's.
            if innermost and code.co_name != "_call_with_frames_removed":
                return True
            innermost = False
            if code.co_qualname.startswith("ExtensionFileLoader."):
                return True
        frame = frame.f_back
    return False
