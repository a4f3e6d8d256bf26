"""A terminal that a person reads: weight, colour, and lines that end where words do. In a pipe the same text, plain.

rich draws it, where it is installed (it comes with what builds, and a device needs none of this), and the terminal can
show it. NO_COLOR leaves the text as it is, but for its width.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tlc_edge.runtime.errors import plain

from .output import put, say, table

if TYPE_CHECKING:
    from rich.console import Console


class Screen:
    """Where a summary is printed: results on stdout, what is to be known of them on stderr."""

    def __init__(self) -> None:
        self._out = _console(sys.stdout)
        self._err = _console(sys.stderr)

    def line(self, text: str = "", style: str = "") -> None:
        """Print a line."""
        if self._out is None:
            put(text)
        else:
            _print(self._out, text, style)

    def pairs(self, rows: Sequence[tuple[str, str]]) -> None:
        """Print names with what they name, in two columns; what is named may be copied whole."""
        width = max(len(name) for name, _ in rows)
        for name, text in rows:
            if self._out is None:
                put(f"{name.ljust(width)}  {text}")
            else:
                self._out.print(_text(f"{name.ljust(width)}  ", "dim"), _text(text, "cyan"), sep="", soft_wrap=True)

    def table(self, rows: Sequence[Sequence[str]], head: Sequence[str]) -> None:
        """Print rows under a head."""
        lines = table(rows, head)
        if self._out is None:
            put(*lines)
            return
        # A line that is cut is worse than one that the terminal breaks.
        self._out.print(_text(lines[0], "bold"), soft_wrap=True)
        for line in lines[1:]:
            self._out.print(_text(line, ""), soft_wrap=True)

    def marked(self, mark: str, text: str, style: str = "yellow") -> None:
        """Print a line on stdout behind a mark; where it breaks, it goes on beside the mark."""
        if self._out is None:
            put(f"{mark} {text}")
        else:
            _print(self._out, text, "", mark, style)

    def note(self, text: str) -> None:
        """Print a line on stderr; spaces before it stay before each part of it."""
        if self._err is None:
            say(text)
        else:
            bare = text.lstrip(" ")
            _print(self._err, bare, "dim", " " * (len(text) - len(bare) - 1))


def _console(stream: Any) -> Console | None:
    """Return what draws on a stream; None where it is no terminal, or one that shows text only."""
    if stream is None or not stream.isatty() or os.environ.get("TERM") == "dumb":
        return None
    try:
        from rich.console import Console
    except ImportError:
        return None
    return Console(
        file=stream,
        color_system=None if os.environ.get("NO_COLOR") else "auto",
        force_jupyter=False,
        highlight=False,
        markup=False,
        emoji=False,
    )


def _text(text: str, style: str) -> Any:
    from rich.text import Text

    return Text(plain(text), style)


def _print(console: Console, text: str, style: str, mark: str = "", mark_style: str = "") -> None:
    from rich.table import Table

    if not mark:
        console.print(_text(text, style))
        return
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_row(_text(mark, mark_style), _text(text, style))
    console.print(grid)
