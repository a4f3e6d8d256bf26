"""Streams: what happens, as server-sent events, and what the camera sees, as MJPEG.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from tlc_edge.runtime.errors import ImageError

from .access import RefusedError
from .asked import Call
from .hub import Hub
from .live import Live, Shot

MOST_STREAMS = 64
"""Of all kinds at once."""
_HEARTBEAT = 10.0
"""Seconds after which a silent stream says that it is there, so that proxies and browsers keep it."""
_BOUNDARY = "tlc-frame"
END = "end"
"""The news with which a stream ends."""


class Streams:
    """The streams that are open."""

    def __init__(self) -> None:
        self.open = 0
        self.server = secrets.token_hex(8)
        """Another one after each start, so that a page knows that it has to look again."""

    def enter(self) -> None:
        """Count one more.

        Raises:
            RefusedError: there are too many.
        """
        if self.open >= MOST_STREAMS:
            raise RefusedError(503, "too many viewers at once; try again in a while", retry=10)
        self.open += 1

    def leave(self) -> None:
        """Count one less."""
        self.open -= 1

    def events(self, asked: Call) -> Response:
        """Answer with what happens to a bundle, for as long as somebody listens."""
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        if asked.request.method == "HEAD":
            return Response(headers=headers, media_type="text/event-stream")
        self.enter()
        hello = {"server": self.server, "fingerprint": asked.served.classifier.bundle.manifest.fingerprint}
        return StreamingResponse(self._told(asked.served.news, hello), headers=headers, media_type="text/event-stream")

    def pictures(self, asked: Call, live: Live) -> Response:
        """Answer with a camera's pictures, each as it comes; who is slow gets fewer."""
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        kind = f"multipart/x-mixed-replace; boundary={_BOUNDARY}"
        if asked.request.method == "HEAD":
            return Response(headers=headers, media_type=kind)
        self.enter()
        return StreamingResponse(self._shown(live), headers=headers, media_type=kind)

    async def _shown(self, live: Live) -> AsyncIterator[bytes]:
        listener = live.pictures.join()
        shot: Shot | None = live.latest
        try:
            while True:
                if shot is not None:
                    try:
                        yield _part(await run_in_threadpool(shot.jpeg))
                    except ImageError:  # of a folder's images, one that is none
                        shot = None
                news = await listener.next(_HEARTBEAT)  # without news the same again, so that a proxy sees it lives
                if news is not None and news[0] == END:
                    return
                shot = shot if news is None else news[1]
        finally:
            live.pictures.leave(listener)
            self.leave()

    async def _told(self, hub: Hub, hello: dict[str, Any]) -> AsyncIterator[bytes]:
        listener = hub.join()
        try:
            yield b"retry: 2000\n" + _event("hello", hello)
            while True:
                news = await listener.next(_HEARTBEAT)
                if news is None:
                    yield b": still here\n\n"
                elif news[0] == END:
                    return
                else:
                    yield _event(*news)
        finally:
            hub.leave(listener)
            self.leave()


def _part(jpeg: bytes) -> bytes:
    head = f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
    return head.encode() + jpeg + b"\r\n"


def _event(kind: str, document: Any) -> bytes:
    text = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return f"event: {kind}\ndata: {text}\n\n".encode()
