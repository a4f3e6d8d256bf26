"""`Client` answers as `Classifier` does."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from serving import Running, picture, running

from tlc_edge.runtime import Classifier
from tlc_edge.runtime.client import Client
from tlc_edge.runtime.errors import DeviceError, GalleryError, ImageError, UsageError


@pytest.fixture
def server(bundle_path: Path, tmp_path: Path) -> Iterator[Running]:
    with running(bundle_path, state=tmp_path / "state", token=True) as server:
        yield server


def link(server: Running) -> str:
    """The first link, by the address that is there without a name service."""
    return f"{server.url}#token={server.token}"


def test_it_answers_as_the_classifier_does(server: Running, bundle_path: Path, photos: Path, tmp_path: Path) -> None:
    file = photos / "3" / "1.png"
    pixels = np.asarray(Image.open(file).convert("RGB"))
    with Client(link(server)) as client, Classifier.open(bundle_path, tmp_path / "other.gallery", threads=1) as own:
        for image in (file, file.read_bytes(), pixels, Image.open(file)):
            there, here = client.predict(image), own.predict(image)
            assert (there.label, there.source, there.unknown) == (here.label, here.source, here.unknown)
            assert [r.label for r in there.ranked] == [r.label for r in here.ranked]
            assert there.score == pytest.approx(here.score, abs=1e-6)
        assert client.predict(pixels[:, :, ::-1], order="BGR").label == own.predict(file).label
        assert np.allclose(client.embed(file), own.embed(file))
        for teach in (client, own):
            change = teach.enroll("blot", [picture(i) for i in range(3)])
            assert (change.added, dict(change.classes)) == (3, {"blot": 3})
        assert client.classes() == own.classes()
        _, near = client.nearest(picture(1))
        assert near[0][1] is not None
        assert near[0][1].label == "blot"
        ids = [e.id for e in client.examples("blot")]
        assert client.thumbnail(ids[0]).startswith(b"\xff\xd8")
        assert client.move(ids[:1], "spot").classes == {"blot": 2, "spot": 1}
        assert client.rename("spot", "speck").classes == {"blot": 2, "speck": 1}
        assert client.remove(ids[:1]).removed == 1
        client.export(tmp_path / "out.gallery")
        assert client.forget("blot").classes == {}
        assert client.import_file(tmp_path / "out.gallery")["classes"] == {"blot": 2}
        assert client.undo().classes == {}
        assert client.enroll_not([picture(7)]).classes == {"none of these": 1}
        assert client.about()["labels"] == list(own.bundle.manifest.labels)


def test_what_happens_is_told(server: Running) -> None:
    with Client(link(server)) as client, Client(link(server)) as other:
        events = client.events()
        assert next(events)[0] == "hello"
        other.enroll("blot", picture())
        kind, change = next(events)
        assert (kind, change["label"], change["classes"]) == ("change", "blot", {"blot": 1})


def test_errors_are_those_of_the_classifier(server: Running, tmp_path: Path) -> None:
    with Client(link(server)) as client:
        with pytest.raises(ImageError, match="not an image"):
            client.predict(b"no image at all")
        with pytest.raises(UsageError, match="no images"):
            client.enroll("a", [])
        with pytest.raises(GalleryError, match="nothing to undo"):
            client.undo()
        with pytest.raises(DeviceError, match="no such example"):
            client.thumbnail(7)
    with pytest.raises(UsageError, match="unknown bundle 'x'; known: photos"):
        Client(link(server), "x")
    with pytest.raises(DeviceError, match="token"):
        Client(server.url)
    with pytest.raises(DeviceError, match="check that `tlc serve` runs there"):
        Client("http://127.0.0.1:9/")
    with pytest.raises(UsageError, match="give an address"):
        Client("no address")
    with pytest.raises(DeviceError, match=r"ca\.crt"):
        Client(link(server), trust=tmp_path / "none.crt")


def test_it_trusts_the_devices_own_authority(bundle_path: Path, tmp_path: Path) -> None:
    with running(bundle_path, state=tmp_path / "state", token=True, tls=True) as server:
        with Client(link(server), trust=tmp_path / "state" / "authority.crt") as client:
            assert client.predict(picture()).unknown
        with pytest.raises(DeviceError, match=r"(?i)certificate"):
            Client(link(server))


def test_who_is_refused_for_want_of_room_asks_again(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    with Client(link(server)) as client:
        pauses: list[float] = []
        guard = server.app.guard

        def rest(seconds: float) -> None:
            pauses.append(seconds)
            guard.draining = False

        monkeypatch.setattr("tlc_edge.runtime.client.time.sleep", rest)
        guard.draining = True
        assert client.classes()
        assert pauses == [5.0]


def test_a_link_may_name_the_bundle(bundle_path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.tlc"
    other.write_bytes(bundle_path.read_bytes())
    with running(bundle_path, other, state=tmp_path / "state", token=True) as server:
        for given, bundle in (("", "photos"), ("?bundle=other", "other"), ("index.html?bundle=other", "other")):
            with Client(f"{server.url}{given}#token={server.token}\n") as client:
                assert (client.bundle, client.about()["name"]) == (bundle, bundle)
        with Client(f"{server.url}?bundle=other", "photos", server.token) as client:
            assert client.bundle == "photos"
        with pytest.raises(UsageError, match="the token has characters that none has"):
            Client(server.url, token="schlüssel")


def test_what_is_no_such_server_is_one_sentence_and_asked_once(tmp_path: Path) -> None:
    asked: list[str] = []

    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            status, body = answers[len(asked) - 1]
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    answers = [(200, b"<html>"), (200, b"[]"), (200, b"{}"), (200, b'{"bundles": []}'), (503, b"closed"), (302, b"")]
    with HTTPServer(("127.0.0.1", 0), Other) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            for _ in answers:
                with pytest.raises(DeviceError, match="check"):
                    Client(f"http://127.0.0.1:{server.server_port}/")
        finally:
            server.shutdown()
            thread.join()
    assert len(asked) == len(answers)
