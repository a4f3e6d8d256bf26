"""The `tlc` command: parse, make one library call, print."""

from __future__ import annotations

import atexit
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from .interrupt import MESSAGE, Interrupt

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit: 0 done, 1 the work failed, 2 wrong usage."""
    # When Python takes itself down the work is done and said; Ctrl-C could only spoil the exit code.
    atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)
    try:
        with Interrupt():
            # Not above, so that Ctrl-C while the libraries load is met here too.
            from .commands import run

            code = run(argv)
    except KeyboardInterrupt:
        sys.stderr.write(f"{MESSAGE}\n")
        code = 1
    sys.exit(code)
