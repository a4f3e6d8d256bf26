"""Progress in a notebook: a line for each step, redrawn in one place. Needs nothing but the notebook itself."""

from __future__ import annotations

import sys
import time
from typing import Any

_REDRAW = 0.2  # seconds


class NotebookLines:
    """Takes a build's progress, and shows it below the cell."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._step, self._units = "", ""
        self._start = self._drawn = 0.0
        self._handle: Any = None

    def __call__(self, step: str, done: int, total: int) -> None:
        """Show how far a step is."""
        now = time.perf_counter()
        if step != self._step:
            self._end(now)
            self._step, self._start, self._units = step, now, ""
        if total:
            self._units = f"{done}/{total}"
        if now - self._drawn > _REDRAW:
            self._drawn = now
            self._show(f"  {step:<17} {'':7}  {self._units}")

    def finish(self) -> None:
        """Close the last line."""
        self._end(time.perf_counter())
        self._step = ""
        if self._handle is not None or self._lines:
            self._show()

    def _end(self, now: float) -> None:
        if self._step and now - self._start >= 0.1:
            self._lines.append(f"  {self._step:<17} {now - self._start:5.1f} s  {self._units}".rstrip())

    def _show(self, current: str = "") -> None:
        display: Any = sys.modules["IPython.display"].display
        content = {"text/plain": "\n".join([*self._lines, *([current] if current else [])])}
        if self._handle is None:
            self._handle = display(content, raw=True, display_id=True)
        else:
            self._handle.update(content, raw=True)


def in_notebook() -> bool:
    """Whether the code of a notebook's cell runs here; IPython in a terminal is none."""
    ipython = sys.modules.get("IPython")
    shell: Any = ipython.get_ipython() if ipython is not None else None
    return shell is not None and hasattr(shell, "kernel") and "IPython.display" in sys.modules
