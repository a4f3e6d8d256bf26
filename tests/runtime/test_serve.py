"""`tlc serve`: the API over a real small bundle, asked as a client asks it."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator
from PIL import Image
from serving import Running, picture, running

from tlc_edge.runtime.gallery.gallery import Gallery
from tlc_edge.runtime.gallery.limits import Limits
from tlc_edge.runtime.serve.app import openapi_text
from tlc_edge.runtime.serve.served import names_of

OPENAPI: dict[str, Any] = json.loads(openapi_text())


@pytest.fixture
def server(bundle_path: Path, tmp_path: Path) -> Iterator[Running]:
    with running(bundle_path, state=tmp_path / "state") as server:
        yield server
        assert server.said == []


@pytest.fixture(scope="module")
def shared(built_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server for what changes nothing."""
    folder = tmp_path_factory.mktemp("shared")
    (folder / "photos.tlc").write_bytes(built_bundle.read_bytes())
    with running(folder / "photos.tlc", state=folder / "state") as server:
        yield server


@pytest.fixture
def client(server: Running) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


def holds(name: str, document: Any) -> Any:
    """Check an answer against its schema in the OpenAPI document, and return it."""
    schema = {"$ref": f"#/components/schemas/{name}", "components": OPENAPI["components"]}
    assert [e.message for e in Draft202012Validator(schema).iter_errors(document)] == []
    return document


def test_every_route_is_in_the_document_and_every_path_has_a_route(shared: Running) -> None:
    router: Any = shared.app.guard.app
    routes = {
        (re.sub(r":\w+}", "}", route.path), method.lower())
        for route in router.routes
        for method in route.methods - {"HEAD"}
        if route.path.startswith(("/api/", "/healthz", "/metrics", "/openapi", "/site", "/ca"))
    }
    told = {(path, method) for path, item in OPENAPI["paths"].items() for method in item if method != "parameters"}
    assert routes == told


def test_predict_answers_what_the_command_prints(client: httpx.Client, photos: Path) -> None:
    data = (photos / "3" / "1.png").read_bytes()
    raw = holds("Prediction", client.post("predict", content=data).json())
    form = client.post("predict?name=other", files={"image": ("dir\\three.png", data)}).json()
    assert (raw["label"], raw["image"], form["image"]) == ("3", "upload", "three.png")
    assert raw["ranked"] == form["ranked"]


def test_teaching_looking_and_taking_back(client: httpx.Client) -> None:
    files = [("images", (f"{i}.jpg", picture(i))) for i in range(3)]
    done = holds("Change", client.post("enroll?label=blot", files=files).json())
    assert (done["kind"], done["added"], done["classes"]) == ("add", 3, {"blot": 3})
    classes = holds("Classes", client.get("classes").json())["classes"]
    assert classes[-1] == {"label": "blot", "examples": 3, "base": False}
    examples = client.get("examples?label=blot").json()["examples"]
    assert [holds("Example", e)["source_name"] for e in examples] == ["0.jpg", "1.jpg", "2.jpg"]
    shown = client.get(f"thumbnails/{examples[0]['id']}")
    assert shown.headers["content-type"] == "image/jpeg"
    assert Image.open(io.BytesIO(shown.content)).size == (224, 224)
    near = holds("Nearest", client.post("nearest", content=picture(1)).json())
    assert near["nearest"][0]["example"]["source_name"] == "1.jpg"
    ids = [e["id"] for e in examples]
    assert client.post("move", json={"examples": ids[:1], "label": "spot"}).json()["classes"] == {"blot": 2, "spot": 1}
    assert client.post("rename", json={"from": "spot", "to": "speck"}).json()["label"] == "speck"
    assert client.post("remove", json={"examples": ids[2:]}).json()["removed"] == 1
    assert client.post("forget", json={"label": "speck"}).json()["classes"] == {"blot": 1}
    undone = [holds("Change", client.post("undo").json()) for _ in range(4)]
    assert undone[-1]["classes"] == {"blot": 3}
    assert client.post("enroll-not", content=picture(9)).json()["classes"]["none of these"] == 1


def test_a_merged_row_tells_how_many_examples_it_stands_for(client: httpx.Client, bundle_path: Path) -> None:
    files = [("images", (f"{i}.jpg", picture(i))) for i in range(5)]
    client.post("enroll?label=blot", files=files)
    assert {e["stands_for"] for e in client.get("examples").json()["examples"]} == {1}
    with Gallery.open_any(bundle_path.with_name("photos.tlc.gallery"), read_only=False) as gallery:
        gallery.limit(Limits(per_class=2, total=0))
    counts = [holds("Example", e)["stands_for"] for e in client.get("examples").json()["examples"]]
    assert (len(counts), sum(counts)) == (2, 5)


def test_a_gallery_goes_out_and_comes_in(client: httpx.Client) -> None:
    assert client.get("gallery").status_code == 409  # nothing was taught
    client.post("enroll?label=blot", content=picture())
    file = client.get("gallery")
    assert file.content.startswith(b"SQLite format 3")
    client.post("undo")
    assert holds("Import", client.post("gallery", content=file.content).json())["classes"] == {"blot": 1}
    refused = client.post("gallery", content=b"no gallery" * 100)
    assert (refused.status_code, refused.json()["error"]["kind"]) == (409, "GalleryError")


def test_what_a_bundle_is(client: httpx.Client, bundle_path: Path) -> None:
    about = holds("About", client.get("../photos").json())
    assert about["labels"] == ["0", "1", "2", "3"]
    assert client.get("manifest").json()["fingerprint"] == about["fingerprint"]
    assert client.get("../../bundles").json() == {"bundles": ["photos"]}
    embedding = holds("Embedding", client.post("embed", content=picture()).json())
    assert len(embedding["embedding"]) == embedding["width"] == about["embedding_width"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "predict", b"", 400),
        ("POST", "predict", b"no image", 422),
        ("POST", "enroll", picture(), 400),
        ("POST", "enroll?label=%20", picture(), 400),
        ("POST", "enroll?label=a&thumbnails=1", picture(), 400),
        ("POST", "enroll?label=a&label=b", picture(), 400),  # neither is taught
        ("POST", "enroll?label=%ff", picture(), 400),
        ("POST", "enroll?label=%ed%a0%80", picture(), 400),
        ("POST", "enroll?label=a&name=%ff", picture(), 400),
        ("POST", "enroll?label=a&thumbnail=false", picture(), 400),  # nor kept against the wish
        ("POST", "enroll?label=a&" + "&".join(f"n{i}=" for i in range(100)), picture(), 400),
        ("POST", "enroll-not?label=a", picture(), 400),
        ("POST", "predict?name=a&name=b", picture(), 400),
        ("POST", "gallery?conflict=last", b"no gallery", 400),
        ("POST", "forget", b"[]", 400),
        ("POST", "forget", b'{"label": "a", "label": "b"}', 400),
        ("POST", "forget", b'{"label": "\\ud800"}', 400),
        ("POST", "forget", b"{", 400),
        ("POST", "forget", b'{"label": 1}', 400),
        ("POST", "forget", b'{"label": "a", "more": 1}', 400),
        ("POST", "forget", b'{"label": "not there"}', 400),
        ("POST", "remove", b'{"examples": [true]}', 400),
        ("POST", "remove", b'{"examples": [99999999999999999999]}', 400),
        ("POST", "undo", b"", 409),
        ("GET", "thumbnails/7", b"", 404),
        ("GET", "thumbnails/x", b"", 400),
        ("GET", "thumbnails/..%2f..", b"", 404),
        ("GET", "predict", b"", 405),
        ("GET", "../nothing", b"", 404),
        ("GET", "../../../nothing", b"", 404),
        ("GET", "/page/..%2f..%2fpyproject.toml", b"", 404),
        ("GET", "/page/../../runtime/serve/run.py", b"", 404),
    ],
)
def test_what_cannot_be_is_one_sentence(shared: Running, method: str, path: str, body: bytes, status: int) -> None:
    with shared.client() as client:
        root = client.base_url
        url = root.copy_with(raw_path=path.encode()) if path.startswith("/") else root.join(path)
        answer = client.request(method, url, content=body)
    assert answer.status_code == status
    assert holds("Error", answer.json())["error"]["what"]


@pytest.mark.parametrize("headers", [{"x": "a" * 40_000}, {f"x{i}": "a" for i in range(5_000)}, {}])
def test_a_head_that_is_too_large_is_refused_however_it_comes(shared: Running, headers: dict[str, str]) -> None:
    with shared.client() as client:
        path = "classes" if headers else "classes?" + "a" * 40_000
        assert client.get(path, headers=headers).status_code in (400, 431)
        assert client.get("classes", headers={"x": "a" * 20_000}).status_code == 200


def test_the_page_and_its_files(client: httpx.Client, server: Running) -> None:
    page = client.get(server.url)
    assert page.headers["content-type"].startswith("text/html")
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    for name in re.findall(r'(?:href|src)="((?:page|app)[^"]+\.(?:js|css|svg|webmanifest))"', page.text):
        found = client.get(f"{server.url}{name}")
        assert found.status_code == 200, name
        again = client.get(f"{server.url}{name}", headers={"if-none-match": found.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
    assert holds("Site", client.get(f"{server.url}site.json").json())["may_change"] is True
    assert client.get(f"{server.url}healthz").json() == {"status": "ok"}
    assert "tlc_requests_total" in client.get(f"{server.url}metrics").text


def test_all_that_the_page_names_is_there(shared: Running) -> None:
    with httpx.Client(base_url=shared.url) as visitor:
        named = set(re.findall(r'(?:href|src)="([^"#]+)"', visitor.get("").text))
        icons = visitor.get("app.webmanifest").json()["icons"]
        assert {"page/icon-192.png", "page/style.css"} <= named
        for path in sorted(named | {icon["src"] for icon in icons}):
            assert visitor.get(path).status_code == 200, path
        shown = Image.open(io.BytesIO(visitor.get("page/icon-192.png").content))
    assert (shown.format, shown.size) == ("PNG", (192, 192))


def test_bundles_have_names_of_their_own() -> None:
    assert names_of(["a/pets.tlc", "b/pets.tlc", "my pets!/", "."])[:3] == ["pets", "pets-2", "my-pets"]
    assert names_of(["/"]) == ["bundle"]


def test_several_bundles_in_one_server_keep_apart_what_they_are_taught(bundle_path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "photos.tlc").write_bytes(bundle_path.read_bytes())
    with running(bundle_path, other / "photos.tlc", state=tmp_path / "state") as server, server.client() as client:
        assert client.get("../../bundles").json() == {"bundles": ["photos", "photos-2"]}
        assert client.post("../photos-2/enroll?label=blot", content=picture()).json()["classes"] == {"blot": 1}
        assert client.post("../photos-2/predict", content=picture()).json()["label"] == "blot"
        assert client.post("predict", content=picture()).json()["label"] != "blot"
        assert client.post("../photos-3/predict", content=picture()).status_code == 404
    assert (other / "photos.tlc.gallery").exists()
    assert not bundle_path.with_name("photos.tlc.gallery").exists()
