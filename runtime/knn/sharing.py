"""A lock for what many threads read and one now and then changes."""

from __future__ import annotations

import threading
from types import TracebackType


class Sharing:
    """Any number of readers at once (`with sharing.reading:`), or one writer alone (`with sharing.writing:`).

    A writer that waits goes before readers that come later. Neither may be taken twice by one thread.
    """

    def __init__(self) -> None:
        self._state = threading.Condition(threading.Lock())
        self._readers = 0
        self._waiting = 0
        self.reading = Reading(self)
        self.writing = _Writing(self)

    def begin_reading(self) -> None:
        """Wait for the writer, if there is one."""
        with self._state:
            while self._waiting:
                self._state.wait()
            self._readers += 1

    def end_reading(self) -> None:
        """Let the last reader wake the writer, if one waits."""
        with self._state:
            self._readers -= 1
            if self._waiting and not self._readers:
                self._state.notify_all()

    def begin_writing(self) -> None:
        """Wait for the readers, and keep others out; the writer holds the lock itself."""
        self._state.acquire()
        self._waiting += 1
        try:
            while self._readers:
                self._state.wait()
        except BaseException:
            self.end_writing()
            raise

    def end_writing(self) -> None:
        """Let the others in."""
        self._waiting -= 1
        self._state.notify_all()
        self._state.release()


# Classes and not generators: every frame passes through them.
class Reading:
    """What a reader holds."""

    def __init__(self, of: Sharing) -> None:
        self._of = of

    def __enter__(self) -> None:
        self._of.begin_reading()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._of.end_reading()


class _Writing:
    def __init__(self, of: Sharing) -> None:
        self._of = of

    def __enter__(self) -> None:
        self._of.begin_writing()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._of.end_writing()
