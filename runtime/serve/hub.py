"""News for many listeners: each has the latest of every kind, and one that is slow never holds up the others."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

_MOST = 64
"""News that wait for one listener; where there are more, the oldest go."""


class Listener:
    """One that is told news, in an event loop."""

    def __init__(self) -> None:
        self._news: deque[tuple[str, Any]] = deque(maxlen=_MOST)
        self._came = asyncio.Event()

    def tell(self, kind: str, document: Any, latest: bool) -> None:
        """Give it news; where only the `latest` counts, what waits of the same kind goes."""
        if latest:
            kept = [one for one in self._news if one[0] != kind]
            self._news.clear()
            self._news.extend(kept)
        self._news.append((kind, document))
        self._came.set()

    async def next(self, patience: float) -> tuple[str, Any] | None:
        """Return the next piece of news, None where none came in `patience` seconds."""
        if not self._news:
            self._came.clear()
            try:
                await asyncio.wait_for(self._came.wait(), patience)
            except TimeoutError:
                return None
        return self._news.popleft()


class Hub:
    """Whoever listens now."""

    def __init__(self) -> None:
        self._listeners: set[Listener] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def count(self) -> int:
        """How many listen; readable from any thread."""
        return len(self._listeners)

    def join(self) -> Listener:
        """Add a listener of the running event loop."""
        self._loop = asyncio.get_running_loop()
        listener = Listener()
        self._listeners.add(listener)
        return listener

    def leave(self, listener: Listener) -> None:
        """Take one away."""
        self._listeners.discard(listener)

    def tell(self, kind: str, document: Any, latest: bool = False) -> None:
        """Tell all of them, from any thread."""
        loop = self._loop
        if loop is None or loop.is_closed() or not self._listeners:
            return
        loop.call_soon_threadsafe(self._tell, kind, document, latest)

    def _tell(self, kind: str, document: Any, latest: bool) -> None:
        for listener in self._listeners:
            listener.tell(kind, document, latest)
