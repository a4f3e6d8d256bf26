"""Scripts that are killed at random instants, hundreds of times.

Each is forked from one process that has loaded `tlc_edge.runtime` already: what is tested are the instants
after that, and Python's own start would take most of the time.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

Killed = Callable[..., list[str]]

_NURSERY = """
import json, os, sys
import gallery_samples, tlc_edge.runtime.gallery.compact, tlc_edge.runtime.gallery.migrate
import tlc_edge.runtime.gallery.transfer

for request in sys.stdin:
    script, args, pipe = json.loads(request)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            sys.stdout = open(pipe, "w")
            sys.argv = ["-c", *args]
            exec(compile(script, "<script>", "exec"), {"__name__": "__main__"})
            sys.stdout.flush()
            code = 0
        except BaseException:
            sys.excepthook(*sys.exc_info())
        os._exit(code)
    print(child, flush=True)
    sys.stdin.readline()  # until then its number is its own, however it ended
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@contextmanager
def nursery(folder: Path) -> Iterator[Killed]:
    """Yield `killed(script, *args, after=SECONDS, may_end=False)`.

    It runs the script, kills it so long after its first line, and returns the lines that got out whole.
    """
    pipe = folder / "out"
    os.mkfifo(pipe)
    with subprocess.Popen(
        [sys.executable, "-c", _NURSERY],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])},
    ) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        asks, tells = parent.stdin, parent.stdout

        def ask(line: str) -> None:
            asks.write(line + "\n")
            asks.flush()

        def killed(script: str, *args: object, after: float, may_end: bool = False) -> list[str]:
            ask(json.dumps([script, [str(a) for a in args], str(pipe)]))
            child = int(tells.readline())
            with pipe.open() as out:
                said = out.readline()
                time.sleep(after)
                os.kill(child, signal.SIGKILL)
                said += out.read()
            ask("")
            code = int(tells.readline())
            assert code == -signal.SIGKILL or (may_end and code == 0), f"the script ended by itself, with {code}"
            return said.split("\n")[:-1]

        yield killed
        asks.close()
