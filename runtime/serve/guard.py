"""What every request passes: where it may come from, how much it may bring, and how long it may take."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tlc_edge.runtime.errors import TlcError, first_line

from .access import Access, RefusedError
from .answers import error_document, status_of
from .pages import POLICY
from .served import Served
from .workers import BusyError

MOST_BODY = 64 << 20
"""Bytes of a request, but for a gallery that is imported."""
MOST_HEAD = 32 << 10
"""Bytes of a request's first line and headers."""
MOST_GALLERY = 512 << 20
MOST_BODIES = 192 << 20
"""Bytes of all requests together that are held in memory."""
_PATIENCE = 10.0
"""Seconds without a byte of a body."""
_LINGER = 10.0
"""Seconds in which who was refused may end what it sends."""
_LEAST_RATE = 20_000
"""Bytes per second of a body, after the first seconds."""
_FIRST_SECONDS = 20.0
_BUSY = 1
"""Seconds after which who was refused for want of room may ask again."""

HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
    (b"permissions-policy", b"camera=(self), microphone=(), geolocation=()"),
)


@dataclass
class Bodies:
    """How many bytes of requests are held in memory."""

    most: int = MOST_BODIES
    held: int = 0

    def take(self, count: int) -> None:
        """Take room for more.

        Raises:
            RefusedError: there is none.
        """
        if self.held + count > self.most:
            raise RefusedError(503, "too many uploads at once; try again in a second", retry=_BUSY)
        self.held += count


@dataclass(eq=False)
class Guard:
    """An ASGI application around the one that answers."""

    app: ASGIApp
    access: Access
    prefix: str = ""
    """Where a reverse proxy shows the server, such as `/tlc`; paths may come with it or without."""
    seen: Callable[[str, str, int, float], None] = lambda _method, _route, _status, _seconds: None
    """Told of every request: its method, its route, what was answered, the seconds it took."""
    complain: Callable[[str], None] = lambda _text: None
    """Told of faults of the server itself."""
    bodies: Bodies = field(default_factory=Bodies)
    draining: bool = False
    """No more is begun: the server is on its way to its end."""
    complained: str = ""
    """What it told of last that hinders every request."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            return
        if self.prefix and scope["path"].startswith(f"{self.prefix}/"):
            scope["path"] = scope["path"][len(self.prefix) :]
        scope["app"] = self  # so that the router raises what it cannot answer
        scope["tlc.access"] = self.access
        answer = _Answer(send, is_secure=scope["scheme"] == "https")
        body = _Body(receive, self.bodies, MOST_BODY)
        scope["tlc.body"] = body
        start = perf_counter()
        try:
            self._check(scope)
            await self.app(scope, body, answer)
        except ClientDisconnect:
            answer.status = answer.status or 499  # nobody is there to be answered
        except Exception as e:
            if answer.status:
                raise  # half an answer is worse than a broken one
            await self._tell(e, scope, answer)
        finally:
            body.release()
            self.seen(scope["method"], _route(scope), answer.status, perf_counter() - start)

    def _check(self, scope: Scope) -> None:
        if self.draining:
            raise RefusedError(503, "the server is ending; try again in a moment", retry=5)
        # The parser of HTTP counts only what it has to wait for: what comes in one piece may be larger.
        head = len(scope.get("raw_path") or b"") + len(scope["query_string"])
        if head + sum(len(name) + len(value) + 4 for name, value in scope["headers"]) > MOST_HEAD:
            raise RefusedError(431, f"the request's head is larger than the limit of {MOST_HEAD >> 10} kB")
        headers = Headers(scope=scope)
        self.access.check_host(headers)
        path = scope["path"]
        if path.startswith("/api/") or scope["method"] not in ("GET", "HEAD"):
            self.access.check_origin(headers, scope["method"] not in ("GET", "HEAD"))
        length = headers.get("content-length", "0")
        most = MOST_GALLERY if path.endswith("/gallery") else MOST_BODY
        scope["tlc.body"].most = most
        if length.isascii() and length.isdecimal() and int(length) > most:
            raise _too_large(most)

    def _complain_once(self, text: str) -> None:
        """Tell of what each request meets until somebody mends it."""
        if text != self.complained:
            self.complained = text
            self.complain(text)

    async def _tell(self, error: Exception, scope: Scope, answer: _Answer) -> None:
        status, what, kind, retry = self._explain(error, scope.get("tlc.served"))
        headers = {"content-type": "application/json", "cache-control": "no-store"}
        if retry is not None:
            headers["retry-after"] = str(retry)
        if status == 401:
            headers["www-authenticate"] = 'Bearer realm="tlc"'
        if isinstance(error, HTTPException) and error.headers:
            headers.update({k.lower(): v for k, v in error.headers.items()})
        body = json.dumps(error_document(what, kind), ensure_ascii=False).encode()
        # What is left of the request is not read: the connection ends with the answer.
        if status in (408, 413, 503) or (status >= 400 and not scope["tlc.body"].is_read):
            headers["connection"] = "close"
        headers["content-length"] = str(len(body))
        raw = [(k.encode(), v.encode("latin-1", "replace")) for k, v in headers.items()]
        await answer({"type": "http.response.start", "status": status, "headers": raw})
        await answer(
            {"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body, "more_body": True}
        )
        if status != 408:
            await scope["tlc.body"].pass_over()
        await answer({"type": "http.response.body"})

    def _explain(self, error: Exception, served: Served | None) -> tuple[int, str, str, int | None]:
        if isinstance(error, RefusedError):
            return error.status, error.what, "Refused", error.retry
        if isinstance(error, BusyError):
            return 503, "too much is waiting already; try again in a second", "Busy", _BUSY
        if isinstance(error, TlcError):
            if served is None:  # it is about who may, so who asks is not told where that is kept
                self._complain_once(str(error))
                return 503, "the server cannot tell who may; what it says where it runs says why", "Refused", None
            if status_of(error) == 500:
                self.complain(str(error))
            return status_of(error), served.without_folder(str(error)), type(error).__name__, None
        if isinstance(error, HTTPException):
            allowed = (error.headers or {}).get("Allow")
            what = error.detail if allowed is None else f"nothing is done here by that method; use {allowed}"
            return error.status_code, what, "HTTPException", None
        if isinstance(error, MemoryError):
            return 503, "out of memory; use fewer or smaller images", "MemoryError", _BUSY
        where = error.__traceback__
        while where is not None and where.tb_next is not None:
            where = where.tb_next
        at = "" if where is None else f" in {where.tb_frame.f_code.co_qualname}, line {where.tb_lineno}"
        self.complain(f"fault of the server: {type(error).__name__}{at}: {first_line(error)}")
        return 500, "a fault of the server; its log says more", type(error).__name__, None


class _Body:
    """A request's body: counted, and not waited for without end."""

    def __init__(self, receive: Receive, bodies: Bodies, most: int) -> None:
        self._receive, self._bodies = receive, bodies
        self.most = most
        self.is_kept = True
        """Whether what was read stays in memory; else, as for a gallery, it goes to a file."""
        self.is_read = False
        self._count = self._held = 0
        self._start = perf_counter()

    async def __call__(self) -> Message:
        if self.is_read:
            return await self._receive()  # it waits for the end of the connection
        try:
            async with asyncio.timeout(_PATIENCE):
                message = await self._receive()
        except TimeoutError:
            raise _too_slow() from None
        if message["type"] != "http.request":
            return message
        count = len(message.get("body", b""))
        self._count += count
        self.is_read = not message.get("more_body", False)
        if self._count > self.most:
            raise _too_large(self.most)
        if not self.is_read and perf_counter() - self._start > _FIRST_SECONDS + self._count / _LEAST_RATE:
            raise _too_slow()
        if self.is_kept:
            self._bodies.take(count)
            self._held += count
        return message

    async def pass_over(self) -> None:
        """Take what is still sent, for a while: else the connection breaks before its sender reads the answer."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LINGER):
                while not self.is_read:
                    message = await self._receive()
                    self.is_read = message["type"] != "http.request" or not message.get("more_body", False)

    def release(self) -> None:
        """Give back the room."""
        self._bodies.held -= self._held
        self._held = 0


class _Answer:
    """Sends an answer, with the headers that all have."""

    def __init__(self, send: Send, is_secure: bool) -> None:
        self._send, self._is_secure = send, is_secure
        self.status = 0

    async def __call__(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message = {**message, "headers": [*message.get("headers", ()), *HEADERS]}
        await self._send(message)


def _route(scope: Scope) -> str:
    """Return the pattern that a path fits, never the path itself: it may hold a label."""
    return str(scope.get("tlc.route", "none"))


def _too_large(most: int) -> RefusedError:
    limit = f"{most >> 20} MB" if most >= 1 << 20 else f"{most} bytes"
    return RefusedError(413, f"the request is larger than the limit of {limit}")


def _too_slow() -> RefusedError:
    return RefusedError(408, "the request comes too slowly; send it again")
