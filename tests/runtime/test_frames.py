"""Where frames come from: folders, videos, addresses and cameras that go away and come back."""

from __future__ import annotations

import io
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from command_runs import apart, without
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from tlc_edge.runtime.errors import DeviceError
from tlc_edge.runtime.watch import frames as frames_module
from tlc_edge.runtime.watch.address import shown
from tlc_edge.runtime.watch.camera import live_frames, open_live
from tlc_edge.runtime.watch.frames import Frame, Frames, Gap, new_images, open_frames
from tlc_edge.runtime.watch.snapshots import Snapshots

POLL = 0.02
PATIENCE = 120.0
"""Seconds after which a test that waits for what must come gives up."""


def grey(value: int, size: tuple[int, int] = (64, 48)) -> Image.Image:
    return Image.new("RGB", size, (value, value, value))


def jpeg(value: int) -> bytes:
    out = io.BytesIO()
    grey(value).save(out, "JPEG")
    return out.getvalue()


class Watcher:
    """Collects from a source in a thread, as the source waits between frames."""

    def __init__(self, frames: Iterator[Any]) -> None:
        self.got: list[Any] = []
        self._stop = False
        self._frames = frames
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        for item in self._frames:
            self.got.append(item)
            if self._stop:
                return

    def wait(self, there: Callable[[list[Any]], bool]) -> list[Any]:
        end = time.monotonic() + PATIENCE
        while not there(self.got):
            assert time.monotonic() < end, self.got[-5:]
            time.sleep(0.005)
        return list(self.got)

    def end(self) -> None:
        """Let it stop at the next item."""
        self._stop = True

    def join(self) -> None:
        """Wait until it has stopped."""
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()


def names(got: list[Frame | Gap]) -> list[str]:
    return [Path(f.name or "").name if isinstance(f, Frame) else f.text for f in got]


class Looks:
    """Counts how often a watched folder was looked at."""

    def __init__(self) -> None:
        self.count = 0

    def sleep(self, _seconds: float) -> None:
        """Stand for the pause between two looks."""
        self.count += 1
        time.sleep(POLL)

    def settle(self) -> None:
        """Wait until several more looks are over."""
        wanted, end = self.count + 4, time.monotonic() + PATIENCE
        while self.count < wanted:
            assert time.monotonic() < end
            time.sleep(POLL)


def put(value: int, path: Path) -> None:
    """Put an image there in one go: on a busy machine one that is written in place may be seen half-written."""
    part = path.with_name(f".{path.name}")
    grey(value).save(part)
    part.replace(path)


# --- a folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "in"
    path.mkdir()
    grey(1).save(path / "old.png")
    return path


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Looks:
    counted = Looks()
    monkeypatch.setattr(frames_module, "time", SimpleNamespace(monotonic=lambda: 0.0))
    monkeypatch.setattr(frames_module, "wait", lambda seconds, _beat: counted.sleep(seconds))
    return counted


@pytest.fixture
def watched(folder: Path, looks: Looks) -> Iterator[Watcher]:
    watcher = Watcher(new_images(folder, POLL))
    yield watcher
    watcher.end()
    folder.mkdir(exist_ok=True)
    (folder / "last.png").write_bytes(b"x")
    watcher.join()


def test_new_and_changed_files_come_once_and_the_rest_does_not(folder: Path, watched: Watcher, looks: Looks) -> None:
    put(2, folder / "b.png")
    watched.wait(lambda got: len(got) == 1)
    grey(3).save(folder / ".hidden.png")
    (folder / "sub").mkdir()
    (folder / ".thumbs").mkdir()
    grey(3).save(folder / ".thumbs" / "c.png")
    (folder / "loop").symlink_to(folder)
    looks.settle()
    put(4, folder / "old.png")  # written anew
    watched.wait(lambda got: len(got) == 2)
    (folder / ".hidden.png").rename(folder / "a.png")  # as programs do that write safely
    watched.wait(lambda got: len(got) == 3)
    (folder / "b.png").unlink()
    looks.settle()
    assert names(watched.got) == ["b.png", "old.png", "a.png"]
    assert all(isinstance(f, Frame) and f.image == folder / Path(f.name or "").name for f in watched.got)


def test_dated_folders_that_come_later_are_looked_into(folder: Path, watched: Watcher, looks: Looks) -> None:
    day = folder / "2026" / "11" / "30"
    day.mkdir(parents=True)
    looks.settle()
    put(2, day / "120501.jpg")
    watched.wait(lambda got: len(got) == 1)
    put(3, folder / "top.jpg")
    watched.wait(lambda got: len(got) == 2)
    shutil.rmtree(folder / "2026")  # as cameras do when the card is full
    looks.settle()
    (folder / "2027").mkdir()
    put(4, folder / "2027" / "0.jpg")
    got = watched.wait(lambda got: len(got) == 3)
    assert [f.name for f in got] == [str(day / "120501.jpg"), str(folder / "top.jpg"), str(folder / "2027" / "0.jpg")]


def test_those_that_come_together_come_in_the_order_of_their_time(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    staged = folder.parent / "staged"
    staged.mkdir()
    for i, name in enumerate(["z.png", "m.png", "a.png"]):
        grey(i).save(staged / name)
        os.utime(staged / name, ns=(i * 10**9, i * 10**9))  # long ago: what counts is that they are new here

    def copy(_seconds: float) -> None:
        """Between two looks all of them come."""
        shutil.copytree(staged, folder, dirs_exist_ok=True)

    monkeypatch.setattr(frames_module, "wait", lambda seconds, _beat: copy(seconds))
    images = new_images(folder, POLL)
    got = [next(images) for _ in range(3)]
    assert names(got) == ["z.png", "m.png", "a.png"]


def test_a_file_that_still_grows_is_waited_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, piece, looks = jpeg(9), len(jpeg(9)) // 6, []

    def write_on(_seconds: float) -> None:
        """Between two looks another piece is written."""
        with (folder / "slow.jpg").open("ab") as file:
            file.write(data[len(looks) * piece : (len(looks) + 1) * piece] if len(looks) < 6 else b"")
        looks.append(1)

    monkeypatch.setattr(frames_module, "wait", lambda seconds, _beat: write_on(seconds))
    frame = next(new_images(folder, POLL))
    assert isinstance(frame, Frame)
    assert (folder / "slow.jpg").stat().st_size == 6 * piece
    assert len(looks) == 7  # the one after the last piece, to see that nothing is added


def test_a_folder_that_goes_away_and_comes_back(folder: Path, watched: Watcher, looks: Looks) -> None:
    aside = folder.with_name("aside")
    folder.rename(aside)
    watched.wait(lambda got: len(got) == 1)
    looks.settle()
    aside.rename(folder)
    watched.wait(lambda got: len(got) == 2)
    put(7, folder / "new.png")
    got = watched.wait(lambda got: len(got) == 3)
    assert names(got) == [f"{folder}: gone; waiting for it", f"{folder}: back", "new.png"]


def test_an_empty_mount_point_does_not_make_old_files_new(folder: Path, watched: Watcher, looks: Looks) -> None:
    (folder / "old.png").rename(folder.parent / "aside.png")
    looks.settle()
    (folder.parent / "aside.png").rename(folder / "old.png")
    looks.settle()
    assert watched.got == []


# --- what is none


@pytest.mark.parametrize("where", ["nowhere", "./no/such.mp4", "", "a\0b", "-1"])
def test_a_place_that_is_none(where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DeviceError, match="no such file or folder; give a camera's number, a video, a folder or an"):
        open_frames(where)


@pytest.mark.parametrize("where", ["97", "rtsp://user:secret@127.0.0.1:1/x", "/dev/null"])
def test_a_camera_that_is_not_there_is_told_at_once(where: str) -> None:
    pytest.importorskip("cv2")
    with pytest.raises(DeviceError, match=r"^(camera 97|rtsp://127\.0\.0\.1:1/…|/dev/null) cannot be opened; check"):
        open_frames(where)


def test_a_file_that_is_no_video(tmp_path: Path) -> None:
    pytest.importorskip("cv2")
    (tmp_path / "notes.mp4").write_text("no video")
    with pytest.raises(DeviceError, match=r"notes\.mp4 cannot be opened"):
        open_frames(str(tmp_path / "notes.mp4"))


def test_without_opencv_the_line_to_run_is_said(bundle_path: Path, tmp_path: Path) -> None:
    done = apart("watch", bundle_path, "--camera", 0, **without(tmp_path, "cv2"))
    assert (
        done.failed()
        == "Error: camera 0 needs OpenCV, which is not installed; run: pip install opencv-python-headless\n"
    )


# --- a video


def test_every_frame_of_a_video_in_its_order(tmp_path: Path) -> None:
    cv2: Any = pytest.importorskip("cv2")
    path = str(tmp_path / "v.avi")
    writer = cv2.VideoWriter(path, cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    for i in range(20):
        frame = np.zeros((48, 64, 3), np.uint8)
        frame[...] = (i * 12, 0, 255)  # blue, green, red
        writer.write(frame)
    writer.release()
    frames = list(open_frames(path).frames)
    assert len(frames) == 20
    for i, frame in enumerate(frames):
        assert isinstance(frame, Frame)
        assert frame.order == "BGR"
        assert isinstance(frame.image, np.ndarray)
        assert np.abs(frame.image[24, 32].astype(int) - (i * 12, 0, 255)).max() < 16
        assert frame.seconds == pytest.approx(i / 10, abs=0.001)  # ten frames a second


# --- a live camera


class Flaky:
    """A camera that gives so many frames each time that it is opened, as some loose cables do."""

    order = "BGR"
    lives = 0
    closed = 0

    def __init__(self, plan: list[int]) -> None:
        """`plan` holds the frames of each opening; -1 refuses to open."""
        kind = type(self)
        left = plan[kind.lives] if kind.lives < len(plan) else 10**9
        kind.lives += 1
        if left < 0:
            raise DeviceError("not there")
        self._left, self._value = left, kind.lives

    def read(self) -> np.ndarray | None:
        time.sleep(0.002)
        self._left -= 1
        return np.full((4, 6, 3), self._value, np.uint8) if self._left >= 0 else None

    def close(self) -> None:
        type(self).closed += 1


@pytest.fixture
def flaky() -> type[Flaky]:
    return type("FlakyHere", (Flaky,), {})


def test_a_camera_that_goes_away_and_comes_back(flaky: type[Flaky]) -> None:
    plan = [5, -1, -1, 0, 5]
    frames = live_frames(lambda: flaky(plan), "camera 3", (0.001, 0.004))
    seen: list[int | str] = []
    for item in frames:
        seen.append(item if isinstance(item, str) else int(item[0][0, 0, 0]))
        if seen[-1] == 6:
            break
    frames.close()
    told = [re.sub(r"after \d+ s$", "again", s) for s in seen if isinstance(s, str)]
    assert told == ["camera 3: no picture any more; waiting for it", "camera 3: back again"] * 2
    assert list(dict.fromkeys(s for s in seen if isinstance(s, int))) == [1, 5, 6]
    assert flaky.closed == 4  # every one that was opened


def test_the_first_opening_must_work(flaky: type[Flaky]) -> None:
    with pytest.raises(DeviceError, match="not there"):
        live_frames(lambda: flaky([-1]), "camera 3")


def test_a_slow_reader_gets_the_newest_frame(flaky: type[Flaky]) -> None:
    class Counting(Flaky):
        count = 0

        def read(self) -> np.ndarray | None:
            time.sleep(0.001)
            type(self).count += 1
            return np.full((1, 1, 3), min(255, self.count), np.uint8)

    frames = live_frames(lambda: Counting([]), "x")
    next(frames)
    while Counting.count < 50:
        time.sleep(0.001)
    item = next(frames)
    assert not isinstance(item, str)
    assert item[0][0, 0, 0] >= 49  # not the second one
    frames.close()


def test_a_camera_that_hangs_is_told_and_goes_on() -> None:
    go = threading.Event()

    class Hangs:
        order = "RGB"
        count = 0

        def read(self) -> np.ndarray | None:
            self.count += 1
            if self.count == 2:
                go.wait(PATIENCE)
            time.sleep(0.001)
            return np.zeros((1, 1, 3), np.uint8)

        def close(self) -> None:
            pass

    hangs = Hangs()
    frames = live_frames(lambda: hangs, "x", stalled=0.02)
    while hangs.count < 2:  # until the first picture is there
        time.sleep(0.001)
    assert not isinstance(next(frames), str)
    assert next(frames) == "x: no picture any more; waiting for it"
    go.set()
    assert re.fullmatch(r"x: back after \d+ s", str(next(frames)))
    frames.close()


def test_the_thread_ends_with_the_frames(flaky: type[Flaky]) -> None:
    frames = live_frames(lambda: flaky([]), "x")
    next(frames)
    assert any(t.name == "camera" for t in threading.enumerate())
    frames.close()
    assert not any(t.name == "camera" for t in threading.enumerate())
    assert flaky.closed == 1


class Stream(ThreadingHTTPServer):
    """An IP camera: JPEG after JPEG over HTTP, until told to drop the line."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, port: int, value: int) -> None:
        self.on, self.data = True, jpeg(value)
        super().__init__(("127.0.0.1", port), Handler)
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def drop(self) -> None:
        self.on = False
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    server: Stream

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(self.server.data)}\r\n\r\n".encode()
        try:
            while self.server.on:
                self.wfile.write(head + self.server.data + b"\r\n")
                time.sleep(0.01)
        except OSError:
            pass  # the viewer has gone
        self.close_connection = True

    def log_message(self, *_: Any) -> None:
        pass


def test_an_address_that_goes_away_and_comes_back() -> None:
    pytest.importorskip("cv2")

    def values(got: list[Any]) -> list[int]:
        return [int(item[0].mean()) for item in got if not isinstance(item, str)]

    first = Stream(0, 40)
    port = first.server_address[1]
    frames = open_live(f"http://127.0.0.1:{port}/video")
    watcher = Watcher(frames)
    watcher.wait(lambda got: len(values(got)) >= 3)
    first.drop()
    watcher.wait(lambda got: isinstance(got[-1], str))
    second = Stream(port, 200)
    got = watcher.wait(lambda got: values(got)[-1] > 150)
    watcher.end()
    told = [item.split(";")[0] for item in got if isinstance(item, str)]
    assert told[0] == f"http://127.0.0.1:{port}/…: no picture any more"
    assert told[1].startswith(f"http://127.0.0.1:{port}/…: back after ")
    assert abs(values(got)[0] - 40) < 6
    watcher.join()
    frames.close()
    second.drop()


# --- an address that gives one photo per request


class Photos(ThreadingHTTPServer):
    """A camera with a password, that counts what it is asked; `answer` is a status and a body."""

    daemon_threads = True

    def __init__(self, wants: str | None = None, kind: str = "image/jpeg") -> None:
        self.wants, self.kind, self.count, self.answer = wants, kind, 0, (200, jpeg(9))
        super().__init__(("127.0.0.1", 0), PhotoHandler)
        self.port = self.server_address[1]
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()


class PhotoHandler(BaseHTTPRequestHandler):
    server: Photos

    def do_GET(self) -> None:
        wants = self.server.wants
        ok = wants is None or wants in (self.headers.get("Authorization") or "")
        self.server.count += ok
        status, body = self.server.answer if ok else (401, b"")
        self.send_response(status)
        if not ok:
            asks = 'Digest realm="cam", nonce="1", qop="auth"' if wants == "Digest" else 'Basic realm="cam"'
            self.send_header("WWW-Authenticate", asks)
        self.send_header("Content-Type", self.server.kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def photo_camera() -> Iterator[Callable[..., Photos]]:
    made: list[Photos] = []

    def make(*args: str | None) -> Photos:
        made.append(Photos(*args))
        return made[-1]

    yield make
    for server in made:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("wants", "user", "kind"),
    [
        (None, "", "image/jpeg"),
        (None, "", "application/octet-stream"),
        (None, "", "text/plain"),  # some say so of a picture
        ("Digest", "me:pw@", "image/jpeg"),
        ("Basic bWU6cEB3", "me:p%40w@", "image/jpeg"),
    ],
)
def test_an_address_of_single_photos_is_asked_again_and_again(
    photo_camera: Callable[..., Photos], wants: str | None, user: str, kind: str
) -> None:
    camera = photo_camera(wants, kind)
    watched = open_frames(f"http://{user}127.0.0.1:{camera.port}/snapshot.cgi?channel=1", 0.01)
    assert watched.text == f"http://127.0.0.1:{camera.port}/…, a photo every 0.01 s"
    got = [next(watched.frames) for _ in range(3)]
    assert [f.image if isinstance(f, Frame) else f.text for f in got] == [camera.answer[1]] * 3
    assert camera.count == 3


def test_photos_that_do_not_come_are_waited_for(photo_camera: Callable[..., Photos]) -> None:
    camera = photo_camera()
    name = f"http://127.0.0.1:{camera.port}/…"
    frames = open_frames(f"http://127.0.0.1:{camera.port}/x", 0.01).frames
    assert isinstance(next(frames), Frame)
    camera.answer = (503, b"")
    gone = next(frames)
    assert isinstance(gone, Gap)
    assert gone.text == (
        f"{name}: no picture any more (answers 503 Service Unavailable; check the address); waiting for it"
    )
    camera.answer = (200, jpeg(80))
    back = next(frames)
    assert isinstance(back, Gap)
    assert re.fullmatch(rf"{re.escape(name)}: back after \d+ s", back.text)
    assert isinstance(next(frames), Frame)


@pytest.mark.parametrize(
    ("wants", "kind", "answer", "said"),
    [
        ("Basic x", "image/jpeg", (200, b""), "refuses (401 Unauthorized); check the user's name and the password"),
        (None, "text/html", (200, b"<html><img src=/x></html>"), "gives a page (text/html), no picture and no stream"),
        (None, "image/jpeg", (404, b""), "answers 404 Not Found; check the address"),
    ],
)
def test_an_address_that_gives_no_picture_is_told_at_once(
    photo_camera: Callable[..., Photos], wants: str | None, kind: str, answer: tuple[int, bytes], said: str
) -> None:
    camera = photo_camera(wants, kind)
    camera.answer = answer
    with pytest.raises(DeviceError, match=re.escape(f"http://127.0.0.1:{camera.port}/… {said}")):
        open_frames(f"http://me:secret@127.0.0.1:{camera.port}/x?token=secret")


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("http://host/video", "http://host/…"),
        ("http://host:81", "http://host:81"),
        ("rtsp://admin:SECRET@host:554/stream1", "rtsp://host:554/…"),
        ("rtsp://host:554/user=admin_password=SECRET_channel=1_stream=0.sdp", "rtsp://host:554/…"),
        ("http://host/api/webhook/SECRET", "http://host/…"),
        ("http://host?pwd=SECRET", "http://host/…"),
        ("rtsp://admin:p@SECRET@host/x", "rtsp://host/…"),
        ("rtsp://admin:p@/SECRET@host/x", "rtsp://…"),
        ("rtsp://admin:SECRET/w@host/x", "rtsp://…"),
        ("rtsp://admin:SECRET?w@host/x", "rtsp://…"),
        ("rtsp://admin:SECRET", "rtsp://…"),
        ("http://[fe80::1]:80/x", "http://[fe80::1]:80/…"),
        ("http://[SECRET", "http://…"),
        ("admin:SECRET@host", "…"),
    ],
)
def test_no_secret_of_an_address_is_shown(address: str, said: str) -> None:
    assert shown(address) == said


_PIECES = st.sampled_from(["[", "]", "::1", ":", ";1", "@", "host", "80", "/", "?", "#", "%", "1.2.3.4", "q"])


@given(st.lists(_PIECES, max_size=12))
@example(["[", "::1", "]", "@", "[", ":", ";1", "]", ":", "80"])
def test_an_address_is_one_or_is_told_to_be_none(pieces: list[str]) -> None:
    address, told = f"http://{''.join(pieces)}", ""
    try:
        made = urlsplit(Snapshots(address).name).hostname
    except DeviceError as e:
        made, told = None, str(e)
    assert bool(made) != told.endswith(" is no address; expected http://HOST[:PORT]/…")


def test_an_address_with_a_user_in_brackets_is_told_by_its_host() -> None:
    with pytest.raises(DeviceError, match="is no address; expected http://HOST"):
        Snapshots("http://[::1]:SECRET@[:;1]:80/x")
    assert Snapshots("http://[::1]:SECRET@[::1]:80/x").name == "http://[::1]:80/…"


def test_at_most_one_frame_in_so_many_seconds(flaky: type[Flaky], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        frames_module, "open_live", lambda where, _beat: live_frames(lambda: flaky([]), where, stalled=600)
    )
    ticks = 0

    def tick() -> float:
        """Whenever someone asks for the time, a tenth of a second has passed."""
        nonlocal ticks
        ticks += 1
        return ticks / 10

    monkeypatch.setattr(frames_module, "time", SimpleNamespace(monotonic=tick))

    def times(every: float) -> NDArray[np.float64]:
        source: Frames = open_frames("0", every).frames
        found = [ticks / 10 for _, _ in zip(range(4), source, strict=False)]
        source.close()
        return np.array(found)

    assert np.allclose(np.diff(times(0.0)), 0.2)  # asked twice for each frame, and none is passed over
    assert np.allclose(np.diff(times(1.0)), 1.1)
