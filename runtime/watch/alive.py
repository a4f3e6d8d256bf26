"""Telling systemd that the watcher is ready, and that it still goes round; one that hangs is started anew.

Source: sd_notify(3). Where nobody asks (NOTIFY_SOCKET is not set) nothing is done.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Mapping

_PIECE = 5.0


class Alive:
    """Whoever started this process, if it wants to know."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        where = environment.get("NOTIFY_SOCKET", "")
        self._where = "\0" + where[1:] if where.startswith("@") else where
        mine = environment.get("WATCHDOG_PID") in (None, str(os.getpid()))
        asked = environment.get("WATCHDOG_USEC", "") if mine else ""
        self._pause = int(asked) / 4e6 if asked.isdecimal() else float("inf")
        self._due = time.monotonic()

    def ready(self) -> None:
        """Say that the work has begun."""
        self._send("READY=1")

    def beat(self) -> None:
        """Say that the loop goes round; four times in the time that may pass, however often this is called."""
        if self._where and self._pause < float("inf") and time.monotonic() >= self._due:
            self._due = time.monotonic() + self._pause
            self._send("WATCHDOG=1")

    def ending(self) -> None:
        """Say that the end was asked for, so that what is still sent then is waited for."""
        self._send("STOPPING=1")

    def _send(self, state: str) -> None:
        if self._where:
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
                out.setblocking(False)  # it is not waited for
                out.sendto(state.encode(), self._where)


def nothing() -> None:
    """Take a beat where nobody listens."""


def wait(seconds: float, beat: Callable[[], None]) -> None:
    """Sleep, with a beat every few seconds."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(left, _PIECE))
        beat()
