"""What was unknown or unsure, as it is asked for over HTTP: to be seen, and to be sorted."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.responses import Response

from tlc_edge.runtime.errors import UsageError
from tlc_edge.runtime.gallery.records import Change
from tlc_edge.runtime.labels import NONE_OF_THESE

from .answers import change_document
from .asked import Call, json_response
from .workers import Workers

_NOT_THERE = "there is no such picture; it may be sorted already"


async def list_pictures(asked: Call, looking: Workers) -> Response:
    """Answer with what is kept, oldest first.

    Raises:
        DeviceError: the folder cannot be read.
    """
    unsorted = asked.served.unsorted
    if unsorted is None:
        return json_response({"on": False, "most": 0, "pictures": []})
    found = await looking.run(asked.client.key, unsorted.pictures)
    return json_response({"on": True, "most": unsorted.most, "pictures": found})


async def picture(asked: Call, looking: Workers) -> bytes:
    """Return the picture that is asked for, a JPEG.

    Raises:
        HTTPException: it is not there.
    """
    unsorted, name = asked.served.unsorted, asked.request.path_params["id"]
    data = None if unsorted is None else await looking.run(asked.client.key, lambda: unsorted.read(name))
    if data is None:
        raise HTTPException(404, _NOT_THERE)
    return data


async def predict(asked: Call, looking: Workers, predicting: Workers) -> Response:
    """Answer with what is on a picture, as far as is known now.

    Raises:
        HTTPException: it is not there.
    """
    data, classifier = await picture(asked, looking), asked.served.classifier
    name = asked.request.path_params["id"]
    return await predicting.run(asked.client.key, lambda: json_response(classifier.predict(data).document(name)))


async def sort(asked: Call, teaching: Workers) -> Response:
    """Sort a picture, and tell whoever listens; on disk when this answers.

    Raises:
        UsageError: what to do with it is not said.
        HTTPException: it is not there.
        ImageError, GalleryError, DeviceError: as `Unsorted.sort`.
    """
    given = await asked.document(**{"label": str, "not": bool, "discard": bool})
    label = NONE_OF_THESE if given.get("not") else given.get("label")
    if len(given) != 1 or not (label or given.get("discard")):
        raise UsageError('expected one of {"label": …}, {"not": true} and {"discard": true}')
    unsorted, name, news = asked.served.unsorted, asked.request.path_params["id"], asked.served.news
    if unsorted is None:
        raise HTTPException(404, _NOT_THERE)

    def work() -> tuple[Change | None, bool, int]:
        change = None if label is None else unsorted.sort(name, label)
        found = unsorted.discard(name) if label is None else change is not None
        return change, found, len(unsorted.pictures())

    change, found, left = await teaching.run(asked.client.key, work)
    if not found:
        raise HTTPException(404, _NOT_THERE)
    done = None if change is None else change_document(change)
    if done is not None:
        news.tell("change", done)
    news.tell("queue", {"pictures": left}, latest=True)
    return json_response({"left": left, "change": done})
