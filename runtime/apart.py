"""Code that runs in a process of its own, so that what it loads may crash and takes only that process with it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def run_apart(
    code: str | Path, *arguments: str, data: bytes = b"", timeout: float | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run a module of tlc by its name, or a file of it, in a fresh interpreter; `data` goes to its standard input.

    Raises:
        subprocess.TimeoutExpired: it took longer than `timeout` seconds, and was ended.
    """
    what = [str(code)] if isinstance(code, Path) else ["-m", code]
    # -P: what lies in the folder that the user stands in is not ours to import.
    command = [sys.executable, "-P", *what, *arguments]
    return subprocess.run(command, input=data, capture_output=True, check=False, timeout=timeout)


def last_line(said: bytes, silent: str) -> str:
    """Return the last line that a process wrote and that is not blank; `silent` where there is none."""
    lines = [line.strip() for line in said.decode(errors="backslashreplace").splitlines()]
    return next((line for line in reversed(lines) if line), silent)
