"""Delivering what happened to a server, without ever waiting for it.

An `Outbox` takes messages and sends them from a thread of its own, in order, one at a time, again and again
until the server has them. Where it stays away, the oldest messages give way to the newest.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from .trust import explained

CAPACITY = 100
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0
_GRACE = 5.0


class Terminated(KeyboardInterrupt):
    """The process was asked to end (SIGTERM), as a service manager does: a Ctrl-C with time to send what is left."""


class RefusedError(Exception):
    """The server took the message and does not want it; sending it again would not help."""


class Receiver(Protocol):
    """Where messages go."""

    name: str
    """For the person who reads what went wrong."""

    def send(self, message: bytes) -> None:
        """Deliver one message.

        Raises:
            OSError: the server cannot be reached or has trouble; it may help to try again.
            RefusedError: it does not want this message.
        """
        ...

    def close(self) -> None:
        """Let go of the connection."""
        ...


class Outbox:
    """The messages on their way to one receiver. Use it as a context manager: leaving it sends what is left."""

    def __init__(
        self,
        receiver: Receiver,
        note: Callable[[str], None],
        *,
        capacity: int = CAPACITY,
        pauses: tuple[float, float] = (_FIRST_PAUSE, _LONGEST_PAUSE),
        grace: float = _GRACE,
    ) -> None:
        """Start the thread.

        Args:
            receiver: where messages go.
            note: called, from the thread, with a sentence when the server goes away and when it is back.
            capacity: messages kept while it is away.
            pauses: seconds before the first and at most before a later try; each pause is twice the one before.
            grace: seconds that closing may take to send what is left.
        """
        self.lost = 0
        """Messages that gave way or were refused."""
        self._receiver, self._note = receiver, note
        self._pauses, self._grace = pauses, grace
        self._waiting: deque[bytes] = deque()
        self._capacity = capacity
        self._changed = threading.Condition()
        self._closing = self._busy = False
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)
        self._thread.start()

    def put(self, message: bytes) -> None:
        """Take a message; returns at once."""
        with self._changed:
            self._waiting.append(message)
            if len(self._waiting) > self._capacity:
                self._waiting.popleft()
                self.lost += 1
            self._changed.notify_all()

    def close(self, grace: float | None = None) -> int:
        """Send what is left for at most `grace` seconds; return how many messages did not arrive."""
        end = time.monotonic() + (self._grace if grace is None else grace)
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting and not self._busy, max(0.0, end - time.monotonic()))
            self._closing = True
            left = len(self._waiting) + self._busy
            self._changed.notify_all()
        self._thread.join(timeout=max(0.1, end - time.monotonic()))
        self._receiver.close()
        return self.lost + left

    def __enter__(self) -> Outbox:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        # Whoever presses Ctrl-C does not wish to wait for a server; a service manager does.
        hurry = isinstance(error, KeyboardInterrupt) and not isinstance(error, Terminated)
        try:
            missing = self.close(0.5 if hurry else None)
        except KeyboardInterrupt:  # pressed once more meanwhile
            self._say(self.close(0.0))
            raise
        self._say(missing)

    def _say(self, missing: int) -> None:
        if missing:
            self._note(f"{self._receiver.name}: {missing} message{'s' if missing > 1 else ''} not delivered")

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closing)
                if self._closing:
                    return
                message = self._waiting.popleft()
                self._busy = True
            self._deliver(message)
            with self._changed:
                self._busy = False
                self._changed.notify_all()

    def _deliver(self, message: bytes) -> None:
        pause = self._pauses[0]
        away = False
        while not self._closing:
            try:
                self._receiver.send(message)
            except RefusedError as e:
                self.lost += 1
                self._note(f"{self._receiver.name}: refused a message ({e})")
                return
            except OSError as e:
                if not away:
                    self._note(f"{self._receiver.name}: {explained(e)}; trying again")
                away = True
                with self._changed:
                    self._changed.wait_for(lambda: self._closing, pause)
                pause = min(2 * pause, self._pauses[1])
            else:
                if away:
                    lost = f", {self.lost} lost so far" if self.lost else ""
                    self._note(f"{self._receiver.name}: delivers again{lost}")
                return
