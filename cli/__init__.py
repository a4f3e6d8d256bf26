"""The `tlc` command: parse, make one library call, print.

`commands/` has one file per command, named like it; beside it is what commands share.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from .interrupt import MESSAGE, Interrupt

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit: 0 done, 1 the work failed, 2 wrong usage.

    Without `argv` it is the program itself, which takes its words from the shell and whose process ends here.
    """
    try:
        with Interrupt() as interrupt:
            # Not above, so that Ctrl-C while the libraries load is met here too.
            from .run import run

            interrupt.check()
            code = run(argv)
            if argv is None:
                _end()
    except KeyboardInterrupt:
        if argv is None:
            _end()
        sys.stderr.write(f"{MESSAGE}\n")
        code = 1
    sys.exit(code)


def _end() -> None:
    """Take no more Ctrl-C: the work is done and said, and while Python tidies up it could only spoil the exit code."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
