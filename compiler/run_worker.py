"""Make the calls of a build's worker: `python -P -m tlc_edge.compiler.run_worker`, which `worker.Worker` starts.

On standard input comes the length of a pickled call and the call, on standard output goes a pickled answer. Both ends
are one build of one user.
"""

from __future__ import annotations

import os
import pickle
import sys
import threading
import time
from typing import IO

GAVE, RAISED, UNKNOWN = "gave", "raised", "unknown"
"""What an answer is: a result, an error, or nothing, as the call is of something that only the build's process has."""
_LOOK = 0.5  # seconds between looks at whether the build is still there


def make_calls(calls: IO[bytes], answers: IO[bytes]) -> None:
    """Make calls, one after the other, until no more come."""
    while length := calls.read(8):
        answers.write(_answer(calls.read(int.from_bytes(length, "little"))))
        answers.flush()


def _answer(call: bytes) -> bytes:
    try:
        function, args, kwargs = pickle.loads(call)
    except Exception:
        return pickle.dumps((UNKNOWN, None))
    try:
        return pickle.dumps((GAVE, function(*args, **kwargs)), protocol=5)
    except Exception as e:
        return _told(e)


def _told(error: Exception) -> bytes:
    """Return what tells of an error: itself, or where it cannot be sent, its name and what it says."""
    try:
        told = pickle.dumps((RAISED, error), protocol=5)
        pickle.loads(told)
    except Exception:
        return pickle.dumps((RAISED, (type(error).__name__, str(error))))
    return told


def _end_with(parent: int) -> None:
    """End this process when the build is gone, killed maybe in the middle of a call."""
    while os.getppid() == parent:
        time.sleep(_LOOK)
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    own = os.dup(1)
    os.dup2(2, 1)  # what a library prints must not get between the answers
    sys.stdout = sys.stderr
    try:
        make_calls(sys.stdin.buffer, os.fdopen(own, "wb"))
    except BrokenPipeError:  # nobody waits for the answer any more
        os._exit(1)
