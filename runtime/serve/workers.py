"""A bounded pool of threads that serves its clients in turn."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


class BusyError(Exception):
    """There is more work than can wait; try again in a second."""


@dataclass(frozen=True, eq=False)
class _Job:
    work: Callable[[], Any]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]


class Workers:
    """Runs work that is asked for in an event loop. Who asks much waits behind who asks little.

    Each client's jobs are done in the order they came, and the clients take turns.
    """

    def __init__(self, name: str, threads: int, most: int) -> None:
        """Start the threads; at most `most` jobs wait, of which half are one client's."""
        self.threads = threads
        self._most = most
        self._waiting: dict[str, deque[_Job]] = {}
        self._count = 0
        self._working = 0
        self._closed = False
        self._changed = threading.Condition()
        self._threads = [threading.Thread(target=self._run, name=f"{name} {i}", daemon=True) for i in range(threads)]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """How many jobs wait."""
        return self._count

    @property
    def working(self) -> int:
        """How many are being done."""
        return self._working

    async def run(self, client: str, work: Callable[[], T]) -> T:
        """Have a thread do the work, and return what it returns, or raise what it raises.

        Who stops waiting has it not done at all, where it has not begun.

        Raises:
            BusyError: too much waits already.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        with self._changed:
            own = self._waiting.get(client)
            if self._closed or self._count >= self._most or (own is not None and 2 * len(own) >= self._most):
                raise BusyError
            if own is None:
                own = self._waiting[client] = deque()
            own.append(_Job(work, loop, future))
            self._count += 1
            self._changed.notify()
        return await future

    def close(self) -> None:
        """Let the threads end when what waits is done."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(timeout=10)

    def _run(self) -> None:
        while (job := self._next()) is not None:
            if not job.future.cancelled():
                self._do(job)
            with self._changed:
                self._working -= 1

    def _next(self) -> _Job | None:
        with self._changed:
            while not self._waiting:
                if self._closed:
                    return None
                self._changed.wait()
            client, own = next(iter(self._waiting.items()))
            job = own.popleft()
            del self._waiting[client]
            if own:
                self._waiting[client] = own  # behind all others
            self._count -= 1
            self._working += 1
            return job

    @staticmethod
    def _do(job: _Job) -> None:
        result: Any = None
        error: BaseException | None = None
        try:
            result = job.work()
        except BaseException as e:  # whatever it is, it belongs to who asked
            error = e
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            job.loop.call_soon_threadsafe(_tell, job.future, result, error)


def _tell(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
