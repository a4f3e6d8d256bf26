"""The API: what can be asked of a bundle, each as one small function. Its document is openapi.json."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tlc_edge.runtime.errors import UsageError
from tlc_edge.runtime.gallery.records import Change
from tlc_edge.runtime.labels import NONE_OF_THESE
from tlc_edge.runtime.watch.frames import Frame

from . import exchange, queue
from .access import Access, Client
from .answers import (
    about_document,
    change_document,
    classes_document,
    example_document,
    explanation_document,
    merged_document,
)
from .asked import Call, example_ids, json_response, required, whole_number
from .events import Streams
from .live import Live
from .served import Served
from .uploads import read_uploads
from .workers import Workers

ROOT = "/api/v1"
_BUNDLE = f"{ROOT}/bundles/{{bundle}}"

_PRIVATE = {"cache-control": "private, no-cache"}

Endpoint = Callable[[Call], Awaitable[Response]]


@dataclass(frozen=True, eq=False)
class Api:
    """The endpoints of one server."""

    bundles: Mapping[str, Served]
    predicting: Workers
    """As many threads as may run a model at once."""
    teaching: Workers
    """What changes a gallery, one after the other: it is not to stand in the way of what predicts."""
    looking: Workers
    """What only looks into a gallery."""
    streams: Streams
    version: str
    """Of tlc."""
    live: Live | None = None
    """The device's own camera."""

    def routes(self) -> list[Route]:
        """Return all of them."""
        return [
            Route(f"{ROOT}/bundles", self._list, methods=["GET"]),
            self._get("", self._about),
            self._get("/manifest", self._manifest),
            self._post("/predict", self._predict),
            self._post("/embed", self._embed),
            self._post("/nearest", self._nearest),
            self._post("/enroll", self._enroll, changes=True),
            self._post("/enroll-not", self._enroll_not, changes=True),
            self._post("/forget", self._forget, changes=True),
            self._post("/rename", self._rename, changes=True),
            self._post("/move", self._move, changes=True),
            self._post("/remove", self._remove, changes=True),
            self._post("/undo", self._undo, changes=True),
            self._get("/classes", self._classes),
            self._get("/examples", self._examples),
            self._get("/thumbnails/{id}", self._thumbnail),
            self._get("/gallery", self._export),
            self._post("/gallery", self._import, changes=True),
            self._get("/events", self._events),
            self._get("/stream.mjpg", self._stream),
            self._get("/frame.jpg", self._frame),
            self._post("/frame/predict", self._predict_frame),
            self._post("/frame/enroll", self._enroll_frame, changes=True),
            self._post("/frame/enroll-not", self._enroll_frame_not, changes=True),
            self._get("/queue", self._queue),
            self._get("/queue/{id}", self._queued),
            self._get("/queue/{id}/prediction", self._queued_prediction),
            self._post("/queue/{id}", self._sort, changes=True),
        ]

    # How an endpoint is reached

    def _get(self, path: str, endpoint: Endpoint) -> Route:
        return Route(_BUNDLE + path, self._reached(path, endpoint, False), methods=["GET"])

    def _post(self, path: str, endpoint: Endpoint, changes: bool = False) -> Route:
        return Route(_BUNDLE + path, self._reached(path, endpoint, changes), methods=["POST"])

    def _reached(self, path: str, endpoint: Endpoint, changes: bool) -> Callable[[Request], Awaitable[Response]]:
        async def run(request: Request) -> Response:
            request.scope["tlc.route"] = path or "/"
            client = who_asks(request, changes)
            served = self.bundles.get(request.path_params["bundle"])
            if served is None:
                raise HTTPException(404, "there is no bundle of that name; see api/v1/bundles")
            request.scope["tlc.served"] = served
            return await endpoint(Call(request, client, served))

        return run

    async def _list(self, request: Request) -> Response:
        request.scope["tlc.route"] = "/bundles"
        who_asks(request)
        return json_response({"bundles": list(self.bundles)})

    # What a bundle is

    async def _about(self, asked: Call) -> Response:
        served = asked.served
        return await self.looking.run(
            asked.client.key, lambda: json_response(about_document(served.name, served.classifier, self.version))
        )

    async def _manifest(self, asked: Call) -> Response:
        data = asked.served.classifier.bundle.files["manifest.json"]
        return Response(data, headers={"cache-control": "no-cache"}, media_type="application/json")

    # Predicting

    async def _predict(self, asked: Call) -> Response:
        body, kind = await asked.body(), asked.request.headers.get("content-type", "")
        name = asked.given("name")

        def work() -> Response:
            (image,) = _one(read_uploads(body, kind, name))
            prediction = asked.served.classifier.predict(image)
            asked.served.keep_unsure(Frame(image.getvalue()), prediction)
            return json_response(prediction.document(image.name))

        return await self.predicting.run(asked.client.key, work)

    async def _embed(self, asked: Call) -> Response:
        body, kind = await asked.body(), asked.request.headers.get("content-type", "")

        def work() -> Response:
            (image,) = _one(read_uploads(body, kind))
            classifier = asked.served.classifier
            vector = classifier.embed(image)
            fingerprint = classifier.bundle.manifest.fingerprint
            return json_response({"embedding": vector.tolist(), "width": len(vector), "fingerprint": fingerprint})

        return await self.predicting.run(asked.client.key, work)

    async def _nearest(self, asked: Call) -> Response:
        body, kind = await asked.body(), asked.request.headers.get("content-type", "")
        name = asked.given("name")

        def work() -> Response:
            (image,) = _one(read_uploads(body, kind, name))
            return json_response(explanation_document(asked.served.classifier.explain(image), image.name))

        return await self.predicting.run(asked.client.key, work)

    # Teaching

    async def _enroll(self, asked: Call) -> Response:
        asked.knows("label", "name", "thumbnails")
        return await self._learn(asked, asked.query("label"))

    async def _enroll_not(self, asked: Call) -> Response:
        asked.knows("name", "thumbnails")
        return await self._learn(asked, NONE_OF_THESE)

    async def _learn(self, asked: Call, label: str) -> Response:
        body, kind = await asked.body(), asked.request.headers.get("content-type", "")
        name, kept = asked.given("name"), _keeps_thumbnails(asked)
        classifier = asked.served.classifier
        return await self._change(
            asked, lambda: classifier.enroll(label, read_uploads(body, kind, name), thumbnails=kept)
        )

    async def _change(self, asked: Call, work: Callable[[], Change]) -> Response:
        """Change a gallery, on disk when this answers, and tell whoever listens."""
        done = change_document(await self.teaching.run(asked.client.key, work))
        asked.served.news.tell("change", done)
        return json_response(done)

    async def _forget(self, asked: Call) -> Response:
        label = required(await asked.document(label=str), "label")
        return await self._change(asked, lambda: asked.served.classifier.forget(label))

    async def _rename(self, asked: Call) -> Response:
        given = await asked.document(**{"from": str, "to": str, "merge": bool})
        old, new, merge = required(given, "from"), required(given, "to"), given.get("merge", False)
        return await self._change(asked, lambda: asked.served.classifier.rename(old, new, merge=merge))

    async def _move(self, asked: Call) -> Response:
        given = await asked.document(examples=list, label=str)
        ids, label = example_ids(given), required(given, "label")
        return await self._change(asked, lambda: asked.served.classifier.move(ids, label))

    async def _remove(self, asked: Call) -> Response:
        ids = example_ids(await asked.document(examples=list))
        return await self._change(asked, lambda: asked.served.classifier.remove(ids))

    async def _undo(self, asked: Call) -> Response:
        only = (await asked.document(operation=int)).get("operation")
        return await self._change(asked, lambda: asked.served.undo(only))

    # What was taught

    async def _classes(self, asked: Call) -> Response:
        classifier = asked.served.classifier
        return json_response(await self.looking.run(asked.client.key, lambda: classes_document(classifier)))

    async def _examples(self, asked: Call) -> Response:
        label = asked.given("label")

        def work() -> Response:
            with asked.served.gallery() as gallery:
                found = [] if gallery is None else gallery.examples()
            chosen = [example_document(e) for e in found if label is None or e.label == label]
            return json_response({"examples": chosen})

        return await self.looking.run(asked.client.key, work)

    async def _thumbnail(self, asked: Call) -> Response:
        number = whole_number(asked.request.path_params["id"], "the id")

        def work() -> bytes | None:
            with asked.served.gallery() as gallery:
                found = {} if gallery is None else gallery.examples_of([number])
            return found[number][1] if number in found else None

        jpeg = await self.looking.run(asked.client.key, work)
        if jpeg is None:
            raise HTTPException(404, "there is no such example, or it was enrolled without a picture")
        return Response(jpeg, headers=_PRIVATE, media_type="image/jpeg")

    async def _export(self, asked: Call) -> Response:
        return await exchange.export_gallery(asked, self.looking)

    async def _import(self, asked: Call) -> Response:
        merged = await exchange.import_gallery(asked, self.teaching)
        asked.served.news.tell("change", {"kind": "import", "label": "", "classes": merged.classes})
        return json_response(merged_document(merged))

    async def _events(self, asked: Call) -> Response:
        return self.streams.events(asked)

    # The device's own camera

    def _camera(self) -> Live:
        if self.live is None:
            raise HTTPException(404, "this server has no camera; start it with --camera")
        return self.live

    async def _stream(self, asked: Call) -> Response:
        return self.streams.pictures(asked, self._camera())

    async def _frame(self, asked: Call) -> Response:
        shot = self._camera().shot()
        jpeg = await self.looking.run(asked.client.key, shot.jpeg)
        return Response(jpeg, headers={"cache-control": "no-store"}, media_type="image/jpeg")

    async def _predict_frame(self, asked: Call) -> Response:
        shot, classifier = self._camera().shot(), asked.served.classifier
        frame = shot.frame

        def work() -> Response:
            return json_response(classifier.predict(frame.image, frame.order).document(f"frame {shot.number}"))

        return await self.predicting.run(asked.client.key, work)

    async def _enroll_frame(self, asked: Call) -> Response:
        asked.knows("label", "thumbnails")
        return await self._learn_frame(asked, asked.query("label"))

    async def _enroll_frame_not(self, asked: Call) -> Response:
        asked.knows("thumbnails")
        return await self._learn_frame(asked, NONE_OF_THESE)

    async def _learn_frame(self, asked: Call, label: str) -> Response:
        shot, kept = self._camera().shot(), _keeps_thumbnails(asked)
        frame, name = shot.frame, f"camera {shot.time}"
        classifier = asked.served.classifier
        return await self._change(
            asked, lambda: classifier.enroll(label, frame.image, order=frame.order, name=name, thumbnails=kept)
        )

    # What is to be sorted

    async def _queue(self, asked: Call) -> Response:
        return await queue.list_pictures(asked, self.looking)

    async def _queued(self, asked: Call) -> Response:
        return Response(await queue.picture(asked, self.looking), headers=_PRIVATE, media_type="image/jpeg")

    async def _queued_prediction(self, asked: Call) -> Response:
        return await queue.predict(asked, self.looking, self.predicting)

    async def _sort(self, asked: Call) -> Response:
        return await queue.sort(asked, self.teaching)


def who_asks(request: Request, changes: bool = False) -> Client:
    """Return who asks, where they may.

    Raises:
        RefusedError: they may not.
    """
    access: Access = request.scope["tlc.access"]
    address = request.client.host if request.client is not None else ""
    client = access.client(request.headers, address)
    if changes:
        access.check_change(client)
    return client


def _keeps_thumbnails(asked: Call) -> bool:
    kept = asked.given("thumbnails")
    if kept is None:
        return True
    if kept not in ("true", "false"):
        raise UsageError(f"thumbnails is {kept[:20]!r}, expected true or false")
    return kept == "true"


def _one(images: list[Any]) -> list[Any]:
    if len(images) != 1:
        raise UsageError(f"{len(images)} images in the request, expected one")
    return images
