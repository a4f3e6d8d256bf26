"""The worker: a second process of the build, which works beside the first.

Python runs one thread at a time, and TensorFlow mostly does: while a network is loaded or lowered, or a head trained,
one core of two would idle. What does not wait for that is given to the worker, call by call. Where a second process
has nothing to gain (one core, `--threads 1`) or too little memory, where it cannot be started or is lost, each call is
made in the build's own process when its result is asked for: what comes of it is the same.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, Generic, ParamSpec, TypeVar

from tlc_edge.runtime.knn.bank import free_memory

from .run_worker import GAVE, UNKNOWN

P = ParamSpec("P")
T = TypeVar("T")

ROOM = 3_000_000_000
"""Bytes of memory that must be free for a second process: with TensorFlow, and as much again for the first."""
_MODULE = "tlc_edge.compiler.run_worker"


_Asked = tuple[Future[Any], partial[Any]]


class LostError(Exception):
    """The worker ended, or was never there: the call is to be made again."""


class Pending(Generic[T]):
    """What a call gives, once it is done."""

    def __init__(self, future: Future[Any] | None, call: Callable[[], T]) -> None:
        self._future, self._call = future, call
        self._made: list[T] = []

    @property
    def running(self) -> bool:
        """Whether the worker has it, done or not."""
        return self._future is not None

    def cancel(self) -> bool:
        """Take the call back, unless it is begun; return whether it is not to be made."""
        return self._future is None or self._future.cancel()

    def result(self) -> T:
        """Wait for the call; return what it gave, or raise what it raised."""
        if not self._made:
            self._made.append(self._wait())
        return self._made[0]

    def _wait(self) -> T:
        if self._future is not None:
            try:
                given: T = self._future.result()
                return given
            except LostError:
                self._future = None
        return self._call()


class Worker:
    """One process, started at the first call that it is given; leave its block, and it has ended."""

    def __init__(self, threads: int = 0) -> None:
        """Take calls; `threads` is how many the user allows the build, 0 for one per core."""
        self.apart = min(threads or cores(), cores()) > 1 and free_memory() > ROOM
        """Whether calls go to a process of their own."""
        self._process: subprocess.Popen[bytes] | None = None
        self._line = ThreadPoolExecutor(1, "worker")  # one call at a time
        self._waiting: deque[_Asked] = deque()

    @property
    def running(self) -> bool:
        """Whether the process is there: a call costs nothing to start then."""
        return self._process is not None and self._process.poll() is None

    def start(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Pending[T]:
        """Start a function of a module; what it takes and gives goes through a pipe, so it must bear pickling."""
        return self._start(self._waiting.append, partial(function, *args, **kwargs))

    def start_next(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Pending[T]:
        """Start a function as `start` does, before all that waits to be called."""
        return self._start(self._waiting.appendleft, partial(function, *args, **kwargs))

    def close(self) -> None:
        """End the process, whatever it is at."""
        self.apart = False
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._line.shutdown(wait=True, cancel_futures=True)
        self._waiting.clear()
        for pipe in () if self._process is None else (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):  # what was not sent
                    pipe.close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self) -> bool:
        command = [sys.executable, "-P", "-m", _MODULE]
        try:
            # In a session of its own: a Ctrl-C is for the first process, which ends this one.
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except (OSError, ValueError):  # too many processes; or no interpreter of its own
            self.apart = False
        return self.apart

    def _start(self, wait: Callable[[_Asked], None], call: partial[T]) -> Pending[T]:
        if not self.apart or (self._process is None and not self._open()):
            return Pending(None, call)
        future: Future[T] = Future()
        wait((future, call))
        self._line.submit(self._make_next)
        return Pending(future, call)

    def _make_next(self) -> None:
        future, call = self._waiting.popleft()
        if not future.set_running_or_notify_cancel():
            return
        try:
            given = self._ask(call.func, call.args, call.keywords)
        except BaseException as e:
            future.set_exception(e)
        else:
            future.set_result(given)

    def _ask(self, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            raise LostError
        try:
            call = pickle.dumps((function, args, kwargs), protocol=5)
        except (pickle.PicklingError, TypeError, AttributeError):  # something in it lives in this process only
            raise LostError from None
        try:
            process.stdin.write(len(call).to_bytes(8, "little") + call)
            process.stdin.flush()
            said, answer = pickle.load(process.stdout)
        except (OSError, EOFError, ValueError, pickle.UnpicklingError):
            self.apart = False
            raise LostError from None
        if said == GAVE:
            return answer
        if said == UNKNOWN:
            raise LostError
        raise answer if isinstance(answer, BaseException) else _stand_in(*answer)


def cores() -> int:
    """Return how many cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        return os.cpu_count() or 1


def _stand_in(name: str, said: str) -> Exception:
    """Return an error in the place of one that bears no pickling, with its name and message."""
    kind: type[Exception] = type(name, (Exception,), {})
    return kind(said)
