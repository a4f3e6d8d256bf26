"""How much memory a process holds."""

from __future__ import annotations

import sys
from pathlib import Path

_STATUS = Path("/proc/self/status")


def resident() -> int | None:
    """Return the bytes of this process that are in memory now; None where the system does not tell."""
    return _status("VmRSS")


def peak() -> int | None:
    """Return the most bytes of this process that were ever in memory; None where the system does not tell."""
    found = _status("VmHWM")
    if found is not None:
        return found
    try:
        import resource
    except ImportError:
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def _status(key: str) -> int | None:
    try:
        lines = _STATUS.read_text("ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:"))
    except (OSError, ValueError, IndexError, StopIteration):
        return None
