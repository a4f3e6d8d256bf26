"""How long work tells its caller where it is."""

from __future__ import annotations

from collections.abc import Callable

Count = Callable[[int, int], None]
"""Called with the units done and the units in all."""


def silent(_done: int, _total: int) -> None:
    """Tell no one."""
