"""The whole application: the guard around the page, the API, and what machines ask."""

from __future__ import annotations

import importlib.resources
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router

from .access import Access, Client, RefusedError
from .api import ROOT, Api, who_asks
from .asked import json_response
from .events import END, Streams
from .guard import Guard
from .live import Live
from .metrics import Metrics
from .pages import Page, read_pages
from .served import Served
from .workers import Workers

_MOST_WAITING = 128
_LONGEST_TOKEN = 4096  # bytes of the JSON with it
_PAGES = ("/", "/index.html", "/app.webmanifest", "/page/{path:path}", "/client/{path:path}", "/runtime/{path:path}")


@dataclass(eq=False)
class App:
    """A server without its sockets: `guard` is the ASGI application."""

    bundles: Mapping[str, Served]
    guard: Guard
    api: Api
    rest: _Rest

    @property
    def authority(self) -> bytes | None:
        """The certificate of the device's own authority, in PEM; None where there is none."""
        return self.rest.authority

    @authority.setter
    def authority(self, pem: bytes | None) -> None:
        self.rest.authority = pem

    def start(self) -> None:
        """Begin to look."""
        if self.api.live is not None:
            self.api.live.start()

    def drain(self) -> None:
        """Begin nothing more, and end the streams; what is under way goes on."""
        self.guard.draining = True
        for served in self.bundles.values():
            served.news.tell(END, None)
        if self.api.live is not None:
            self.api.live.pictures.tell(END, None)

    def close(self) -> None:
        """Let go of camera and bundles, when no request is left."""
        if self.api.live is not None:
            self.api.live.close()
        for workers in (self.api.predicting, self.api.teaching, self.api.looking):
            workers.close()
        for served in self.bundles.values():
            served.close()


def make_app(
    bundles: Sequence[Served],
    access: Access,
    *,
    live: Live | None = None,
    prefix: str = "",
    workers: int = 1,
    version: str = "",
    complain: Callable[[str], None] = lambda _text: None,
) -> App:
    """Return the application for these bundles.

    Args:
        bundles: open ones, of different names.
        access: who may.
        live: the device's own camera, opened.
        prefix: where a reverse proxy shows the server, such as `/tlc`.
        version: of tlc.
        workers: how many predictions may run at once.
        complain: told of faults of the server.
    """
    by_name = {served.name: served for served in bundles}
    predicting = Workers("predict", workers, _MOST_WAITING)
    teaching = Workers("teach", 1, _MOST_WAITING)
    looking = Workers("look", 2, _MOST_WAITING)
    streams = Streams()
    metrics = Metrics(by_name, predicting, teaching, streams, live)
    api = Api(by_name, predicting, teaching, looking, streams, version, live)
    rest = _Rest(by_name, access, prefix, read_pages(), metrics, api)
    router = Router([*api.routes(), *rest.routes()], redirect_slashes=False, default=_nothing)
    guard = Guard(router, access, prefix, metrics.seen, complain)
    return App(by_name, guard, api, rest)


@dataclass(eq=False)
class _Rest:
    bundles: Mapping[str, Served]
    access: Access
    prefix: str
    pages: Mapping[str, Page]
    metrics: Metrics
    api: Api
    authority: bytes | None = None

    def routes(self) -> list[Route]:
        return [
            Route("/healthz", self._health, methods=["GET"]),
            Route("/metrics", self._metrics, methods=["GET"]),
            Route("/openapi.json", self._openapi, methods=["GET"]),
            Route("/site.json", self._site, methods=["GET"]),
            Route("/ca.crt", self._authority, methods=["GET"]),
            Route(f"{ROOT}/session", self._enter, methods=["POST"]),
            Route(f"{ROOT}/session", self._leave, methods=["DELETE"]),
            *(Route(path, self._page, methods=["GET"]) for path in _PAGES),
        ]

    async def _health(self, request: Request) -> Response:
        request.scope["tlc.route"] = "/healthz"
        return json_response({"status": "ok"})

    async def _metrics(self, request: Request) -> Response:
        request.scope["tlc.route"] = "/metrics"
        client = who_asks(request)
        body, kind = await self.api.looking.run(client.key, self.metrics.text)
        return Response(body, headers={"cache-control": "no-store", "content-type": kind})

    async def _openapi(self, request: Request) -> Response:
        request.scope["tlc.route"] = "/openapi.json"
        return Response(openapi_text(), headers={"cache-control": "no-cache"}, media_type="application/json")

    async def _site(self, request: Request) -> Response:
        """Tell the page where it is: behind a server, and what this visitor may."""
        request.scope["tlc.route"] = "/site.json"
        client: Client | None
        try:
            client = who_asks(request)
        except RefusedError:
            client = None
        return json_response(
            {
                "mode": "server",
                "version": self.api.version,
                "api": "api/v1/",
                "needs_token": self.access.tokens is not None,
                "may_read": client is not None,
                "may_change": client is not None and client.may_change,
                "camera": self.api.live is not None,
                "queue": any(served.unsorted is not None for served in self.bundles.values()),
                "authority": self.authority is not None,
                "bundles": [] if client is None else list(self.bundles),
            }
        )

    async def _authority(self, request: Request) -> Response:
        request.scope["tlc.route"] = "/ca.crt"
        if self.authority is None:
            raise HTTPException(404, "this server has no authority of its own; start it with --tls")
        return Response(self.authority, headers={"cache-control": "no-cache"}, media_type="application/x-x509-ca-cert")

    async def _enter(self, request: Request) -> Response:
        """Take a token and give a cookie, so that the token is in no address and no script can read it."""
        request.scope["tlc.route"] = "/session"
        request.scope["tlc.body"].most = _LONGEST_TOKEN  # it is anybody who asks
        try:
            given: Any = json.loads(await request.body())
            token = given["token"]
        except (ValueError, KeyError, TypeError, RecursionError):
            token = None
        if not isinstance(token, str):
            raise HTTPException(400, 'expected {"token": "…"}')
        headers = {"authorization": f"Bearer {token}"}
        address = request.client.host if request.client is not None else ""
        client = self.access.client(headers, address)
        answer = json_response({"may_change": client.may_change})
        if self.access.tokens is not None:
            self._set_cookie(request, answer, token, 400 * 86_400)
        return answer

    async def _leave(self, request: Request) -> Response:
        request.scope["tlc.route"] = "/session"
        answer = json_response({})
        self._set_cookie(request, answer, "", 0)
        return answer

    def _set_cookie(self, request: Request, answer: Response, value: str, seconds: int) -> None:
        answer.set_cookie(
            self.access.cookie,
            value,
            max_age=seconds,
            path=f"{self.prefix}/",
            secure=request.url.scheme == "https",
            httponly=True,
            samesite="strict",
        )

    async def _page(self, request: Request) -> Response:
        request.scope["tlc.route"] = "/page"
        page = self.pages.get(request.scope["path"].removeprefix("/") or "index.html")
        if page is None:
            raise HTTPException(404, "there is nothing here")
        headers = {"etag": page.tag, "cache-control": "no-cache", "content-type": page.type, "vary": "accept-encoding"}
        if request.headers.get("if-none-match") == page.tag:
            return Response(status_code=304, headers=headers)
        if page.packed is not None and "gzip" in request.headers.get("accept-encoding", ""):
            return Response(page.packed, headers={**headers, "content-encoding": "gzip"})
        return Response(page.data, headers=headers)


def openapi_text() -> bytes:
    """Return the OpenAPI document, which is written by hand and tested."""
    return importlib.resources.files("tlc_edge.runtime.serve").joinpath("openapi.json").read_bytes()


async def _nothing(_scope: Any, _receive: Any, _send: Any) -> None:
    raise HTTPException(404, "there is nothing here")
