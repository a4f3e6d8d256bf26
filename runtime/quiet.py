"""Keep what native libraries print off the user's terminal."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Generator

_hidden: list[list[tuple[int, int]]] = []  # of each block that runs: descriptors, and the copies to restore them from


@contextlib.contextmanager
def quiet() -> Generator[None]:
    """Send the process's standard output and error nowhere while the block runs.

    Native code writes to the file descriptors, so Python's own redirection does not reach it. Where the
    descriptors cannot be duplicated (closed, or a bare environment) the block runs as it is.
    """
    saved: list[tuple[int, int]] = []
    there = [fd for fd in (1, 2) if _is_open(fd)]  # asked first: what is opened next takes a closed one's number
    try:
        sink = open(os.devnull, "wb")  # noqa: SIM115, PTH123 - closed by the `with` below
    except OSError:
        yield
        return
    with sink:
        try:
            _flush()
            _hidden.append(saved)
            for fd in there:
                with contextlib.suppress(OSError):
                    copy = _copy(fd)
                    saved.append((fd, copy))
                    os.dup2(sink.fileno(), fd)
            yield
        finally:
            try:
                _restore(saved)
            finally:  # a Ctrl-C may fall into it, and its message must still be seen
                _restore(saved)
                _hidden[:] = [other for other in _hidden if other is not saved]


def end_quiet() -> None:
    """Give the streams their places back, where a Ctrl-C broke off blocks before they could."""
    while _hidden:
        _restore(_hidden.pop())


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()


def _restore(saved: list[tuple[int, int]]) -> None:
    """Give the streams their places back; where it was broken off, called again it goes on."""
    if saved:
        _flush()
    while saved:
        fd, copy = saved[-1]
        os.dup2(copy, fd)
        saved.pop()
        os.close(copy)


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def _copy(fd: int) -> int:
    """Duplicate a descriptor, never to the number of a standard stream that is closed: libraries write there."""
    copy = os.dup(fd)
    if copy > 2:
        return copy
    try:
        return _copy(fd)
    finally:
        os.close(copy)
