"""The `tlc` command: parse, make one library call, print."""

import sys

try:
    from .main import main
except KeyboardInterrupt:
    # Ctrl-C while the libraries load, before there is a `main` to catch it.
    sys.exit("Interrupted; nothing was left half-written.")

__all__ = ["main"]
