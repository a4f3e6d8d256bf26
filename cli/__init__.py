"""The `tlc` command: parse, make one library call, print."""

from .main import main

__all__ = ["main"]
