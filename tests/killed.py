"""Scripts that are killed hundreds of times, each at an event of their own and not after a time.

What a killed process leaves behind is decided by which of its system calls were made, so these are what is
counted: a script is traced, and killed as it enters or leaves the n-th system call after one of its lines. A slow
machine makes the same calls as a fast one, only later.

Each script is forked from one process that has loaded `tlc_edge.runtime` already: what is tested are the events
after that, and Python's own start would take most of the time.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NoReturn

# Of <sys/ptrace.h>.
_TRACEME, _CONT, _DETACH, _SYSCALL, _SETOPTIONS = 0, 7, 17, 24, 0x4200
_MARK_SYSTEM_CALLS, _DIE_WITH_TRACER = 0x1, 0x100000
_SYSTEM_CALL = signal.SIGTRAP | 0x80
_LINE = signal.SIGUSR1
"""What a script sends itself after each line, for its tracer to see."""
FAILED, INTERRUPTED = 1, 130
"""How a script ends that an error stops, and one that Ctrl-C stops."""
_ENDLESS = 100_000
"""Events after which a script that should have got further is given up."""

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


class UntraceableError(Exception):
    """This system does not let a process trace its own child."""


def _ptrace(request: int, pid: int, data: int = 0) -> None:
    if _libc.ptrace(request, pid, None, data) == -1:
        raise UntraceableError(os.strerror(ctypes.get_errno()))


# --- in the process that forks the scripts


class _Lines:
    """Standard output of a script: a file, and a signal to itself after each line that is there."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor, self._text = descriptor, ""

    def write(self, text: str) -> int:
        self._text += text
        return len(text)

    def flush(self) -> None:
        text, self._text = self._text, ""
        for line in text.splitlines(keepends=True):
            os.write(self._descriptor, line.encode())
            os.kill(os.getpid(), _LINE)


def _be_the_script(script: str, args: list[str], out: int) -> NoReturn:
    code = FAILED
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.stdout = _Lines(out)  # type: ignore[assignment]
        sys.argv = ["-c", *args]
        _ptrace(_TRACEME, 0)
        os.kill(os.getpid(), signal.SIGSTOP)  # its tracer says when to go on
        exec(compile(script, "<script>", "exec"), {"__name__": "__main__"})
        code = 0
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BaseException:
        sys.excepthook(*sys.exc_info())
    os._exit(code)


def _trace(child: int, line: int, at: int, stop: int) -> tuple[int, list[int]]:
    """Stop the child `at` events after its `line`-th line; return how it ended, and the event of each of its lines."""
    lines: list[int] = []
    events = 0
    _, status = os.waitpid(child, 0)
    if not os.WIFSTOPPED(status):
        raise UntraceableError("the script could not be traced")
    _ptrace(_SETOPTIONS, child, _MARK_SYSTEM_CALLS | _DIE_WITH_TRACER)
    passed_on = 0
    while True:
        # Before its first line it only gets ready: no event of that counts, and no time is lost with it.
        _ptrace(_SYSCALL if lines else _CONT, child, passed_on)
        _, status = os.waitpid(child, 0)
        if not os.WIFSTOPPED(status):
            return os.waitstatus_to_exitcode(status), lines
        sent, passed_on = os.WSTOPSIG(status), 0
        if sent == _LINE:
            lines.append(events)
        elif sent != _SYSTEM_CALL:
            passed_on = sent
        events += bool(lines)
        if (len(lines) > line and events > lines[line] + at) or events > _ENDLESS:
            os.kill(child, stop)
            if stop != signal.SIGKILL:
                _ptrace(_DETACH, child)
            _, status = os.waitpid(child, 0)
            return os.waitstatus_to_exitcode(status), lines


def _serve() -> None:
    """Run one script after the other, as asked on standard input."""
    for request in sys.stdin:
        script, args, line, at, stop = json.loads(request)
        out = os.memfd_create("out")
        child = os.fork()
        if child == 0:
            _be_the_script(script, args, out)
        try:
            code, lines = _trace(child, line, at, stop)
            said, problem = os.pread(out, os.fstat(out).st_size, 0).decode(), ""
        except UntraceableError as e:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
            code, lines, said, problem = 0, [], "", str(e)
        os.close(out)
        print(json.dumps([code, lines, said, problem]), flush=True)


# --- in the process of the tests


@dataclass(frozen=True)
class Run:
    """How a script that was stopped ended."""

    code: int
    """Minus the number of the signal that ended it."""
    lines: list[int]
    """For each line that it said, how many events came before it; the first one's are 0."""
    said: list[str]


class Killed:
    """Runs scripts and kills them; see `nursery`."""

    def __init__(self, asks: IO[str], tells: IO[str]) -> None:
        self._asks, self._tells = asks, tells

    def run(self, script: str, args: tuple[object, ...], line: int, at: int, stop: int = signal.SIGKILL) -> Run:
        """Run a script, and send it `stop` so many events after its `line`-th line."""
        self._asks.write(json.dumps([script, [str(a) for a in args], line, at, int(stop)]) + "\n")
        self._asks.flush()
        code, lines, said, problem = json.loads(self._tells.readline())
        if problem:
            raise UntraceableError(problem)
        return Run(code, lines, said.splitlines())

    def __call__(self, script: str, *args: object, at: int = 0) -> list[str]:
        """Run a script, kill it so many events after its first line, and return the lines that got out."""
        run = self.run(script, args, line=0, at=at)
        assert run.code == -signal.SIGKILL, f"the script ended by itself, with {run.code}"
        return run.said

    def events(self, script: str, *args: object, lines: int = 0) -> int:
        """Return how many events there are from a script's first line to its `lines`-th, or with 0 to its end."""
        run = self.run(script, args, lines or _ENDLESS, 0)
        assert run.code == (-signal.SIGKILL if lines else 0), f"the script ended with {run.code}"
        assert len(run.lines) > lines
        return run.lines[lines or -1]


def moments(rng: random.Random, count: int, events: int) -> list[int]:
    """Draw so many of the events: one of each `count`-th part of them, in any order."""
    drawn = [int(events * (part + rng.random()) / count) for part in range(count)]
    rng.shuffle(drawn)
    return drawn


@contextmanager
def nursery(preload: str = "json") -> Iterator[Killed]:
    """Yield what runs scripts and kills them, forked from a process that has imported these modules.

    Raises:
        UntraceableError: this system does not let a process trace its own child.
    """
    with subprocess.Popen(
        [sys.executable, "-c", f"import killed, {preload}; killed._serve()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])},
    ) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        killed = Killed(parent.stdin, parent.stdout)
        try:
            killed("print('ready', flush=True)\nwhile True: pass")
            yield killed
        finally:
            parent.stdin.close()
