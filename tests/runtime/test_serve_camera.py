"""`tlc serve --camera` and `--queue`: one camera for all, and what was unsure, to be sorted."""

from __future__ import annotations

import io
import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from serving import Running, picture, running
from test_serve import holds


@pytest.fixture
def film(tmp_path: Path, photos: Path) -> Path:
    """A video of one handwritten 3, a second long."""
    cv2 = pytest.importorskip("cv2")
    path = tmp_path / "film.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (224, 224))
    frame = np.asarray(Image.open(photos / "3" / "1.png").convert("RGB").resize((224, 224)))
    for _ in range(10):
        writer.write(frame)
    writer.release()
    return path


@pytest.fixture
def server(bundle_path: Path, film: Path, tmp_path: Path) -> Iterator[Running]:
    options = {"camera": str(film), "every": 0.05, "queue": str(tmp_path / "queue"), "queue_most": 3}
    with running(bundle_path, state=tmp_path / "state", **options) as server:
        yield server


@pytest.fixture
def client(server: Running) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


def events(client: httpx.Client, *wanted: str) -> dict[str, Any]:
    """The first event of each of these kinds."""
    found: dict[str, Any] = {}
    kind = ""
    with client.stream("GET", "events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            if line.startswith("event: "):
                kind = line.removeprefix("event: ")
            elif line.startswith("data: "):
                found.setdefault(kind, json.loads(line.removeprefix("data: ")))
                if {*wanted} <= {*found}:
                    break
    return found


def test_answers_of_the_camera_are_told(client: httpx.Client) -> None:
    found = events(client, "hello", "answer")
    answer = found["answer"]
    assert holds("Prediction", answer["prediction"])["label"] == "3"
    assert found["hello"]["fingerprint"] == client.get("manifest").json()["fingerprint"]
    assert client.get("../../../../site.json").json()["camera"] is True


def test_a_picture_of_the_camera_alone_and_in_a_stream(client: httpx.Client) -> None:
    events(client, "answer")
    one = client.get("frame.jpg")
    assert Image.open(io.BytesIO(one.content)).size == (224, 224)
    data = b""
    with client.stream("GET", "stream.mjpg") as answer:
        boundary = answer.headers["content-type"].partition("boundary=")[2].encode()
        for piece in answer.iter_bytes():
            data += piece
            if data.count(b"--" + boundary) >= 4:
                break
    head, _, body = data.split(b"--" + boundary)[2].partition(b"\r\n\r\n")
    length = int(head.split(b"Content-Length: ")[1].split()[0])
    assert Image.open(io.BytesIO(body[:length])).format == "JPEG"
    assert body[length:] == b"\r\n"


def test_the_camera_teaches(client: httpx.Client) -> None:
    events(client, "answer")
    done = holds("Change", client.post("frame/enroll?label=my three").json())
    assert done["classes"] == {"my three": 1}
    assert client.get("examples").json()["examples"][0]["source_name"].startswith("camera ")
    assert holds("Prediction", client.post("frame/predict").json())["label"] == "my three"
    assert client.post("frame/enroll-not").json()["classes"] == {"my three": 1, "none of these": 1}


def test_each_frame_is_looked_at_once_whoever_watches(server: Running) -> None:
    live: Any = server.app.api.live
    seen: dict[int, int] = {}
    with server.client() as one, server.client() as other:
        streams = [c.stream("GET", "events") for c in (one, other)]
        lines = [s.__enter__().iter_lines() for s in streams]
        for line in lines:
            for text in line:
                if text.startswith("data: ") and "frame" in (document := json.loads(text[6:])):
                    seen[document["frame"]] = seen.get(document["frame"], 0) + 1
                    if document["frame"] > 12:
                        break
        for s in streams:
            s.__exit__(None, None, None)
    assert max(seen.values()) == 2  # both were told of the same
    assert live.looked <= live.latest.number


def test_without_a_camera_or_a_queue_there_is_none(bundle_path: Path, tmp_path: Path) -> None:
    with running(bundle_path, state=tmp_path / "state") as server, server.client() as client:
        for path in ("frame.jpg", "stream.mjpg", "queue/20260101T000000.000Z.jpg"):
            assert client.get(path).status_code == 404
        assert client.post("frame/enroll?label=a").status_code == 404
        assert holds("Queue", client.get("queue").json()) == {"on": False, "most": 0, "pictures": []}
        client.post("predict", content=picture())
    assert [p for p in tmp_path.iterdir() if p.name == "queue"] == []


def test_what_was_unsure_is_sorted(client: httpx.Client, tmp_path: Path) -> None:
    assert client.post("predict", content=picture(1)).json()["unknown"]
    (kept,) = holds("Queue", client.get("queue").json())["pictures"]
    folder = tmp_path / "queue" / "photos"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / kept["id"]).stat().st_mode) == 0o600
    assert client.get(f"queue/{kept['id']}").content == (folder / kept["id"]).read_bytes()
    assert holds("Prediction", client.get(f"queue/{kept['id']}/prediction").json())["unknown"]
    for body in ({}, {"label": ""}, {"not": False}, {"label": "a", "not": True}, {"other": True}):
        assert client.post(f"queue/{kept['id']}", json=body).status_code == 400
    done = holds("Sorted", client.post(f"queue/{kept['id']}", json={"label": "blot"}).json())
    assert (done["left"], done["change"]["classes"]) == (0, {"blot": 1})
    assert (folder / "blot" / kept["id"]).exists()
    assert client.post(f"queue/{kept['id']}", json={"discard": True}).status_code == 404
    for name in ("..%2f..%2fphotos.tlc", "blot%2f" + kept["id"], "a.jpg"):
        assert client.get(f"queue/{name}").status_code == 404


def test_a_picture_is_thrown_away_or_must_not_pass(server: Running, tmp_path: Path) -> None:
    unsorted: Any = server.app.bundles["photos"].unsorted
    folder = tmp_path / "queue" / "photos"
    names = [f"20260101T00000{i}.000Z.jpg" for i in range(2)]
    for i, name in enumerate(names):
        (folder / name).write_bytes(picture(i))
    assert [p["at"] for p in unsorted.pictures()] == [f"2026-01-01T00:00:0{i}.000+00:00" for i in range(2)]
    with server.client() as client:
        assert client.post(f"queue/{names[0]}", json={"discard": True}).json() == {"left": 1, "change": None}
        done = client.post(f"queue/{names[1]}", json={"not": True}).json()
    assert done["change"]["classes"] == {"none of these": 1}
    assert sorted(p.name for p in folder.iterdir()) == ["none of these"]


def test_undo_brings_a_sorted_picture_back_and_leaves_what_else_was_done(server: Running, tmp_path: Path) -> None:
    folder = tmp_path / "queue" / "photos"
    names = [f"20260101T00000{i}.000Z.jpg" for i in range(2)]
    for i, name in enumerate(names):
        (folder / name).write_bytes(picture(i))
    with server.client() as client:
        sorted_ = [client.post(f"queue/{name}", json={"label": "blot"}).json() for name in names]
        assert sorted_[1]["left"] == 0
        client.post("enroll?label=other", content=picture(7))
        assert client.post("undo").json()["label"] == "other"  # the latest change, which sorted nothing
        assert client.get("queue").json()["pictures"] == []
        number = sorted_[1]["change"]["operation"]
        done = holds("Change", client.post("undo", json={"operation": number}).json())
        assert (done["undone"], done["removed"], done["classes"]) == ("add", 1, {"blot": 1})
        assert [p["id"] for p in client.get("queue").json()["pictures"]] == [names[1]]
        assert client.post(f"queue/{names[1]}", json={"not": True}).status_code == 200  # it can be sorted again
        for _ in range(2):
            client.post("undo")
        assert [p["id"] for p in client.get("queue").json()["pictures"]] == names
        assert client.get("examples").json() == {"examples": []}
    assert not (folder / "blot").exists()


def test_what_a_camera_saw_before_it_was_gone_is_not_learned(bundle_path: Path, tmp_path: Path) -> None:
    watched = tmp_path / "watched"
    watched.mkdir()

    def put(seed: int) -> None:
        (tmp_path / "new.jpg").write_bytes(picture(seed))
        (tmp_path / "new.jpg").rename(watched / f"{seed}.jpg")

    options = {"camera": str(watched), "every": 0.05}
    with (
        running(bundle_path, state=tmp_path / "state", **options) as server,
        server.client() as client,
        server.client() as other,
        client.stream("GET", "events") as told,
    ):
        lines = told.iter_lines()

        def camera() -> dict[str, Any]:
            return next(found for text in lines if "is_there" in (found := _document(text)))

        def answer() -> None:
            next(text for text in lines if "frame" in _document(text))

        assert other.get("frame.jpg").status_code == 503  # none yet
        put(1)
        answer()
        assert other.get("frame.jpg").status_code == 200
        watched.rename(tmp_path / "away")
        assert camera() == {"is_there": False, "text": "watched: gone; waiting for it"}
        for method, path in (("GET", "frame.jpg"), ("POST", "frame/predict"), ("POST", "frame/enroll?label=a")):
            refused = other.request(method, path)
            assert (refused.status_code, refused.json()["error"]["kind"]) == (503, "DeviceError")
        assert other.get("examples").json() == {"examples": []}
        watched.mkdir()
        assert camera() == {"is_there": True, "text": "watched: back"}
        put(2)
        answer()
        assert other.post("frame/enroll?label=a").json()["added"] == 1
        figures = other.get(f"{server.url}metrics").text
    assert "tlc_camera_frame 2.0" in figures


def _document(line: str) -> dict[str, Any]:
    return json.loads(line.removeprefix("data: ")) if line.startswith("data: ") else {}
