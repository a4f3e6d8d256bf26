"""`tlc serve` where something around it is wrong: disks, galleries, folders, names. It says so and goes on."""

from __future__ import annotations

import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from serving import Running, picture, running

from tlc_edge.runtime.errors import DeviceError, UsageError
from tlc_edge.runtime.serve.run import Options, check, shown_host
from tlc_edge.runtime.watch.unsure import kept_pictures


@pytest.fixture
def server(bundle_path: Path, tmp_path: Path) -> Iterator[Running]:
    with running(bundle_path, state=tmp_path / "state", queue=str(tmp_path / "queue")) as server:
        yield server


@pytest.fixture
def client(server: Running) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


def what(answer: httpx.Response) -> str:
    return str(answer.json()["error"]["what"])


@contextmanager
def no_room(most: int) -> Iterator[None]:
    """Let no file grow beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_an_import_that_finds_no_room_is_no_fault_of_the_server(client: httpx.Client, server: Running) -> None:
    client.post("enroll?label=blot", content=picture())
    file = client.get("gallery").content
    with no_room(len(file) // 2):
        refused = client.post("gallery", content=file)
    assert refused.status_code == 409
    assert what(refused) == "what was sent cannot be kept (File too large), so nothing was changed"
    assert client.post("gallery", content=file).json()["duplicates"] == 1
    assert server.said == []


def test_where_a_gallery_lies_is_told_to_nobody(client: httpx.Client, bundle_path: Path) -> None:
    told = what(client.post("undo"))
    assert told == "photos.tlc.gallery: nothing to undo: nothing was enrolled yet"
    told = what(client.post("gallery", content=b"no gallery" * 100))
    assert told.startswith("what was sent: not a tlc gallery")
    client.post("enroll?label=blot", content=picture())
    with bundle_path.with_name("photos.tlc.gallery").open("r+b") as file:
        file.write(bytes(4096))
    for answer in (client.get("classes"), client.post("predict", content=picture()), client.get("examples")):
        assert (answer.status_code, str(bundle_path.parent) in answer.text) == (409, False)
        assert what(answer).startswith("photos.tlc.gallery: ")


def test_figures_are_told_of_a_server_whose_gallery_is_damaged(
    server: Running, client: httpx.Client, bundle_path: Path
) -> None:
    assert 'tlc_stored_examples{bundle="photos"} NaN' not in client.get(f"{server.url}metrics").text
    client.post("enroll?label=blot", content=picture())
    with bundle_path.with_name("photos.tlc.gallery").open("r+b") as file:
        file.write(bytes(4096))
    figures = client.get(f"{server.url}metrics")
    assert figures.status_code == 200
    assert 'tlc_stored_examples{bundle="photos"} NaN' in figures.text


def test_who_may_cannot_be_told_and_visitors_are_not_told_where_it_is_kept(bundle_path: Path, tmp_path: Path) -> None:
    with running(bundle_path, state=tmp_path / "state", token=True) as server, server.client() as client:
        (tmp_path / "state" / "tokens.json").write_text("{")
        headers = {"authorization": f"Bearer {server.token}"}
        answers = [client.get(path, headers=headers) for path in ("classes", f"{server.url}metrics", "classes")]
        assert [answer.status_code for answer in answers] == [503, 503, 503]
        assert {what(answer) for answer in answers} == {
            "the server cannot tell who may; what it says where it runs says why"
        }
        assert server.said == [
            f"{tmp_path / 'state' / 'tokens.json'}: is damaged; remove it, and add tokens anew with `tlc token add`"
        ]


def test_an_image_is_called_by_its_name(client: httpx.Client) -> None:
    for path in ("predict", "embed", "nearest"):
        refused = client.post(path, files={"image": ("mug.png", b"no image")})
        assert (refused.status_code, what(refused)[:9]) == (422, "mug.png: ")


def test_another_method_is_told_which_to_use(client: httpx.Client) -> None:
    answer = client.get("predict")
    assert (answer.status_code, what(answer)) == (405, "nothing is done here by that method; use POST")


def test_pictures_that_go_meanwhile_are_no_error(tmp_path: Path) -> None:
    names = [f"20260101T000000.{i:03}Z.jpg" for i in range(50)]

    def come_and_go() -> None:
        for _ in range(60):
            for name in names[1:]:
                (tmp_path / name).write_bytes(b"x")
            for name in names[1:]:
                (tmp_path / name).unlink()

    (tmp_path / names[0]).write_bytes(b"x")
    thread = threading.Thread(target=come_and_go)
    thread.start()
    found = [kept_pictures(tmp_path)]
    while thread.is_alive():
        found.append(kept_pictures(tmp_path))
    assert {pictures[0] for pictures in found} == {(names[0], 1)}


def test_what_is_asked_is_answered_where_the_queue_is_gone(client: httpx.Client, tmp_path: Path) -> None:
    (tmp_path / "queue" / "photos").rename(tmp_path / "away")
    for seed in range(3):
        assert client.post("predict", content=picture(seed)).status_code == 200
    assert what(client.get("queue")) == "the pictures to sort cannot be read (No such file or directory)"


@pytest.mark.parametrize("name", ["a b", "https://pi.local", "pi.local:8000", "", "/tlc", "häuschen.local"])
def test_what_is_no_name_of_a_host_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=r"--host-name .*: expected a name such as raspberrypi\.local"):
        check(Options(bundles=["x"], names=[name]))


@pytest.mark.parametrize(
    ("name", "shown"),
    [("pi", "pi"), ("Pi.local.", "Pi.local."), ("192.168.0.7", "192.168.0.7"), ("fd00::7", "[fd00::7]")],
)
def test_names_and_addresses_of_a_host_are_taken(name: str, shown: str) -> None:
    options = Options(bundles=["x"], names=[name])
    check(options)
    assert shown_host(options, ()) == shown


def test_a_queue_that_cannot_be_written_names_no_option_of_another_command(bundle_path: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with (
        pytest.raises(DeviceError, match="Not a directory; choose a folder that can be written to"),
        running(bundle_path, state=tmp_path / "state", queue=str(tmp_path / "file")),
    ):
        pass
