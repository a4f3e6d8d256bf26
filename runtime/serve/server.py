"""uvicorn as `tlc serve` runs it: it tells systemd how it goes, and ends as one that has done its work."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import ssl
import threading
from collections.abc import Callable, Generator

import uvicorn

from tlc_edge.runtime.errors import TlcError
from tlc_edge.runtime.watch.alive import Alive

from .app import App
from .authority import Trust
from .guard import MOST_HEAD
from .patient import patient_handshakes, protocol

_DAY = 86_400.0
GRACE = 30
"""Seconds that requests under way have to their end, once the server's was asked for."""


def make_config(app: App, trust_proxy: str | None, trust: ssl.SSLContext | None) -> uvicorn.Config:
    """Return how uvicorn is to serve an application; `trust_proxy` is the address of a proxy whose word is taken."""
    config = uvicorn.Config(
        app.guard,
        http=protocol(),
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="critical",  # it would log paths, and so labels
        access_log=False,
        proxy_headers=trust_proxy is not None,
        forwarded_allow_ips=trust_proxy,
        server_header=False,
        date_header=True,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=GRACE,
        h11_max_incomplete_event_size=MOST_HEAD,
    )
    config.load()
    config.ssl = trust
    return config


class Server(uvicorn.Server):
    """Tells systemd how it goes, and ends the streams when its own end is asked for."""

    def __init__(self, config: uvicorn.Config, app: App, trust: Trust | None, say: Callable[[str], None]) -> None:
        super().__init__(config)
        self._app, self._trust, self._say = app, trust, say
        self._alive = Alive()

    def stop(self) -> None:
        """End as a signal does."""
        self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """End when asked to, and then as one that has done its work: uvicorn would die of the signal afterwards."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        for number in before:
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number, handler in before.items():
                loop.remove_signal_handler(number)
                signal.signal(number, handler)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and tell systemd."""
        with contextlib.nullcontext() if self._trust is None else patient_handshakes(asyncio.get_running_loop()):
            await super().startup(sockets)
        self._alive.ready()
        self._beating = [asyncio.create_task(self._beat()), asyncio.create_task(self._renew())]

    async def _beat(self) -> None:
        while True:
            self._alive.beat()
            await asyncio.sleep(0.1)

    async def _renew(self) -> None:
        while self._trust is not None:
            await asyncio.sleep(_DAY)
            try:
                self._trust.renew()
            except (TlcError, OSError) as e:  # of the disk, say; the old certificate holds for a month yet
                self._say(f"the certificate cannot be renewed: {e}")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin nothing more, and wait for what is under way."""
        self._alive.ending()
        self._app.drain()
        await super().shutdown(sockets)
        for task in self._beating:
            task.cancel()
