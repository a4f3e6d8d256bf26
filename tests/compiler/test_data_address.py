"""Data from addresses, fetched from a real server on this machine."""

from __future__ import annotations

import hashlib
import http.server
import io
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from test_data_archive import FILES, as_zip

from tlc_edge.compiler.cache import bound as make_room
from tlc_edge.compiler.data.forms.address import address_name, parse_checksum
from tlc_edge.compiler.data.load import Origin, load_dataset
from tlc_edge.compiler.data.records import Dataset
from tlc_edge.runtime.errors import DataError, UsageError

pytest.importorskip("pooch")


class Server(http.server.ThreadingHTTPServer):
    """Serves what is in `files`, counts what is asked for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{path}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        path = self.path.lstrip("/").partition("?")[0]
        self.server.asked.append(path)
        if path == "moved.zip":
            self.send_response(302)
            self.send_header("Location", self.server.url("pets.zip"))
            self.end_headers()
            return
        data = self.server.files.get(path.removeprefix("cut-"))
        if data is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if path.startswith("cut-") else data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Keep quiet."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server() as running:
        running.files["pets.zip"] = as_zip(tmp_path / "source.zip", FILES).read_bytes()
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def load(url: str, folder: Path, checksum: str | None = None) -> Dataset:
    return load_dataset(Origin(url, checksum=checksum, cache=str(folder / "cache")))


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def downloads(folder: Path) -> list[Path]:
    return list((folder / "cache" / "downloads").iterdir())


def test_with_a_checksum_it_is_fetched_once(server: Server, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    checksum = sha256(server.files["pets.zip"])
    for _ in range(2):
        data = load(server.url("pets.zip?version=3"), tmp_path, checksum)
        assert sorted(s.name for s in data.samples) == sorted(FILES)
        assert (data.notes, data.origin) == ((), server.url("pets.zip"))  # a query may hold a secret
    assert server.asked == ["pets.zip"]
    assert capfd.readouterr() == ("", "")


def test_without_one_it_is_fetched_each_time_and_the_checksum_told(server: Server, tmp_path: Path) -> None:
    first = load(server.url("pets.zip"), tmp_path)
    assert sha256(server.files["pets.zip"]) in first.notes[0]
    server.files["pets.zip"] = as_zip(tmp_path / "new.zip", dict(list(FILES.items())[1:])).read_bytes()
    second = load(server.url("pets.zip"), tmp_path)
    assert (len(first.samples), len(second.samples)) == (6, 5)
    assert server.asked == ["pets.zip", "pets.zip"]


def test_old_downloads_make_room(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(make_room, "KEPT_BYTES", 1000)
    whole, part = (as_zip(tmp_path / "new.zip", dict(list(FILES.items())[n:])).read_bytes() for n in (0, 1))
    server.files |= {"pets.zip": whole, "part.zip": part}
    load(server.url("pets.zip"), tmp_path)
    load(server.url("part.zip"), tmp_path)
    assert len(downloads(tmp_path)) == 2  # both used today
    folder = tmp_path / "cache" / "downloads"
    (folder / "part-left").mkdir()  # as a killed build leaves them
    (folder / "part-left" / "download").write_bytes(b"half")
    (folder / "tmpleft").write_bytes(b"half")
    (folder / "part-at-it").mkdir()
    (folder / "part-at-it" / "download").write_bytes(b"half")
    for path in (*folder.iterdir(), folder / "part-left" / "download"):
        os.utime(path, (1e9, 1e9))
    load(server.url("part.zip"), tmp_path, sha256(part))  # used again, and not fetched
    assert server.asked == ["pets.zip", "part.zip"]
    server.files["pets.zip"] = as_zip(tmp_path / "newest.zip", dict(list(FILES.items())[2:])).read_bytes()
    load(server.url("pets.zip"), tmp_path)
    kept = {hashlib.sha256(data).hexdigest()[:32] for data in (part, server.files["pets.zip"])}
    assert {path.name.partition("-")[0] for path in downloads(tmp_path)} == {*kept, "part"}
    assert (folder / "part-at-it" / "download").exists()


def test_an_npz_and_a_redirection(server: Server, tmp_path: Path) -> None:
    out = io.BytesIO()
    np.savez(out, x=np.arange(96, dtype=np.uint8).reshape(6, 4, 4), y=np.array([0, 1] * 3))
    server.files["digits.npz"] = out.getvalue()
    assert len(load(server.url("digits.npz"), tmp_path).samples) == 6
    assert len(load(server.url("moved.zip"), tmp_path, sha256(server.files["pets.zip"])).samples) == 6


def test_progress_is_told(server: Server, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    origin = Origin(server.url("pets.zip"), cache=str(tmp_path / "cache"))
    load_dataset(origin, progress=lambda done, of: seen.append((done, of)))
    assert seen
    assert seen[-1][0] == seen[-1][1]


def test_another_file_than_the_checksum_says(server: Server, tmp_path: Path) -> None:
    right, wrong = sha256(server.files["pets.zip"]), sha256(b"")
    with pytest.raises(DataError) as caught:
        load(server.url("pets.zip"), tmp_path, wrong)
    found, expected = right.removeprefix("sha256:"), wrong.removeprefix("sha256:")
    assert f"SHA-256 is {found}, expected {expected}" in str(caught.value)
    assert downloads(tmp_path) == []


def test_a_kept_file_that_was_damaged_is_fetched_again(server: Server, tmp_path: Path) -> None:
    checksum = sha256(server.files["pets.zip"])
    load(server.url("pets.zip"), tmp_path, checksum)
    (kept,) = downloads(tmp_path)
    kept.write_bytes(b"rotten")
    assert len(load(server.url("pets.zip"), tmp_path, checksum).samples) == 6
    assert server.asked == ["pets.zip"] * 2
    assert kept.read_bytes() == server.files["pets.zip"]


@pytest.mark.parametrize("checksum", [True, False])
def test_a_transfer_that_breaks_off(checksum: bool, server: Server, tmp_path: Path) -> None:
    expected = sha256(server.files["pets.zip"]) if checksum else None
    with pytest.raises(DataError, match=r"cut-pets\.zip: no connection, or it broke off"):
        load(server.url("cut-pets.zip"), tmp_path, expected)
    assert downloads(tmp_path) == []


def test_errors_of_addresses(server: Server, tmp_path: Path) -> None:
    url = server.url("gone.zip")
    with pytest.raises(DataError, match=r"gone\.zip: the server answered 404 Not Found"):
        load(url, tmp_path)
    with pytest.raises(DataError, match="no connection"):
        load("http://127.0.0.1:9/pets.zip", tmp_path)
    for bad in ("file:///etc/pets.zip", "ftp://127.0.0.1/pets.zip", "http:///pets.zip"):
        with pytest.raises(DataError, match=r"expected http:// or https://"):
            load(bad, tmp_path)
    with pytest.raises(DataError, match="by its name"):
        load(server.url("pets"), tmp_path)
    assert server.asked == ["gone.zip"]


def test_checksums() -> None:
    assert parse_checksum(" SHA256:" + "A" * 64) == "a" * 64
    for bad in ("", "sha256:", "md5:" + "a" * 32, "sha256:" + "g" * 64, "a" * 63):
        with pytest.raises(UsageError, match="expected sha256: and 64"):
            parse_checksum(bad)
    with pytest.raises(UsageError, match="--checksum is for addresses"):
        load_dataset(Origin("photos", checksum="sha256:" + "a" * 64))


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://example.org/a/pets.tar.gz?x=/y.zip#z", "pets.tar.gz"),
        ("https://example.org/caf%C3%A9%20pets.zip", "café_pets.zip"),
        ("https://example.org/..%2F..%2Fevil.zip", "evil.zip"),
        ("https://example.org/", "download"),
        ("https://me/x:secret@host.zip", "host.zip"),
    ],
)
def test_names_of_addresses(url: str, name: str) -> None:
    assert address_name(url) == name
