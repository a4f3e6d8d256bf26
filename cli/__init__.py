"""The `tlc` command: parse, make one library call, print."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NoReturn

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit: 0 done, 1 the work failed, 2 wrong usage."""
    try:
        # Not above, so that Ctrl-C at the very start is met here too.
        from .commands import run
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted; nothing was left half-written.\n")
        sys.exit(1)
    sys.exit(run(argv))
