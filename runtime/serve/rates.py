"""How often somebody may: a bucket per client that fills again with time."""

from __future__ import annotations

import time
from collections.abc import Callable

_MOST = 10_000
"""Clients that are remembered."""


class Rates:
    """Counts per client. For the event loop alone."""

    def __init__(self, per_second: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Allow `burst` at once, and `per_second` on average."""
        self._per_second, self._burst, self._clock = per_second, burst, clock
        self._left: dict[str, tuple[float, float]] = {}

    def left(self, client: str) -> float:
        """Return how many a client may have now."""
        left, at = self._left.get(client, (self._burst, 0.0))
        return min(self._burst, left + (self._clock() - at) * self._per_second)

    def take(self, client: str) -> bool:
        """Count one; return whether it was free to be had."""
        left = self.left(client)
        free = left >= 1
        self._left.pop(client, None)
        self._left[client] = (left - 1 if free else left, self._clock())
        if len(self._left) > _MOST:
            del self._left[next(iter(self._left))]  # who asked longest ago
        return free
