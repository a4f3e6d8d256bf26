"""How long a connection may do nothing: one that sends no request, or does not take what it asked for, ends.

uvicorn has a limit for the pause between two requests alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Generator
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

_PATIENCE = 10.0
"""Seconds for the head of a request."""
_DEAF = 20.0
"""Seconds in which who is sent something takes nothing of it."""
MOST_CONNECTIONS = 512
_open: set[object] = set()


class Patient(H11Protocol):
    """A connection with limits."""

    _head: asyncio.TimerHandle | None = None
    _taking: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for a request."""
        super().connection_made(transport)
        if len(_open) >= MOST_CONNECTIONS:
            transport.abort()
            return
        _open.add(self)
        transport.set_write_buffer_limits(high=256 << 10)
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        """Take a piece of a request; from its whole head on it is for the application to say how long."""
        super().data_received(data)
        if self._is_answering():
            self._stop_head()
        elif self._head is None:
            self._wait_for_head()

    def on_response_complete(self) -> None:
        """Go on to the next request, of which a part may have come already."""
        super().on_response_complete()
        if self._is_answering():
            self._stop_head()

    def pause_writing(self) -> None:
        """Begin to wait for who does not take what is sent."""
        super().pause_writing()
        if self._taking is None:
            self._taking = self.loop.call_later(_DEAF, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on sending."""
        super().resume_writing()
        self._stop_taking()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        _open.discard(self)
        self._stop_head()
        self._stop_taking()
        super().connection_lost(exc)

    def _is_answering(self) -> bool:
        cycle: Any = self.cycle  # None until the first request
        return cycle is not None and not cycle.response_complete

    def _wait_for_head(self) -> None:
        self._head = self.loop.call_later(_PATIENCE, self.transport.abort)

    def _stop_head(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def _stop_taking(self) -> None:
        if self._taking is not None:
            self._taking.cancel()
            self._taking = None


@contextlib.contextmanager
def patient_handshakes(loop: Any) -> Generator[None]:
    """Give who opens a connection to what is made to listen meanwhile no longer for TLS's greeting than for a head."""
    loop.create_server = functools.partial(loop.create_server, ssl_handshake_timeout=_PATIENCE)
    try:
        yield
    finally:
        del loop.create_server


def protocol() -> type[asyncio.Protocol]:
    """Return what uvicorn speaks HTTP with."""
    return Patient
