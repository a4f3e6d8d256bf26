"""Keep what native libraries print off the user's terminal."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Generator


@contextlib.contextmanager
def quiet() -> Generator[None]:
    """Send the process's standard output and error to a scratch file while the block runs.

    Native code writes to the file descriptors, so Python's own redirection does not reach it. Where the
    descriptors cannot be duplicated (closed, or a bare environment) the block runs as it is.
    """
    saved: list[tuple[int, int]] = []
    try:
        sink = tempfile.TemporaryFile()  # noqa: SIM115 - closed by the `with` below
    except OSError:
        yield
        return
    with sink:
        try:
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(OSError, ValueError, AttributeError):
                    stream.flush()
            for fd in (1, 2):
                with contextlib.suppress(OSError):
                    copy = os.dup(fd)
                    saved.append((fd, copy))
                    os.dup2(sink.fileno(), fd)
            yield
        finally:
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(OSError, ValueError, AttributeError):
                    stream.flush()
            for fd, copy in saved:
                os.dup2(copy, fd)
                os.close(copy)
