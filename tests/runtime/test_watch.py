"""`tlc watch`: one line whenever what is seen changes, wherever the frames come from and for however long."""

from __future__ import annotations

import gc
import json
import queue
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_runs import COMMAND, Done, here
from numpy.typing import NDArray
from PIL import Image
from test_backbone_builds import SKETCH
from test_cli_interrupted import LINE
from test_deliver import PATIENCE, Server, free_port, url

from tlc_edge.compiler import Options, build
from tlc_edge.runtime import Classifier
from tlc_edge.runtime.doctor.memory import resident
from tlc_edge.runtime.watch.frames import Frame, Gap
from tlc_edge.runtime.watch.steady import Steady
from tlc_edge.runtime.watch.watch import watch

Tlc = Callable[..., Done]


@pytest.fixture
def tlc(capfd: pytest.CaptureFixture[str]) -> Tlc:
    return lambda *args: here(capfd, *args)


@pytest.fixture(scope="session")
def video(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten frames of a 0, one of a 3, nine of the 0 again, then twenty of a 1."""
    pictures = {c: Image.open(photos / c / "0.png").convert("RGB").resize((224, 224)) for c in "013"}
    labels = "0" * 10 + "3" + "0" * 9 + "1" * 20
    return write_video(tmp_path_factory.mktemp("video") / "digits.avi", [np.asarray(pictures[c]) for c in labels])


def write_video(path: Path, frames: Sequence[NDArray[np.uint8]]) -> Path:
    """Write RGB frames as a Motion JPEG."""
    cv2: Any = pytest.importorskip("cv2")
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (width, height))
    for frame in frames:
        writer.write(np.ascontiguousarray(frame[..., ::-1]))
    writer.release()
    return path


def shown(*labels: str, photos: Path) -> Iterator[Frame | Gap]:
    """Yield one frame per label; a label that is none is a gap."""
    for label in labels:
        if len(label) == 1:
            yield Frame(photos / label / "0.png", name=label)
        else:
            yield Gap(label)


# --- the library


def test_an_event_tells_what_changed(bundle_path: Path, photos: Path) -> None:
    notes: list[str] = []
    frames = shown(*"000300", "gone", *"111", photos=photos)
    with Classifier.open(bundle_path) as classifier:
        events = list(watch(classifier, frames, Steady(3), notes.append))
        changes = [(e.prediction.label, e.was, e.frame, e.name) for e in events]
        assert changes == [("0", None, 3, "0"), ("1", "0", 9, "1")]
        assert notes == ["gone"]
        assert events[0].prediction.score == classifier.predict(photos / "0" / "0.png").score
    times = [datetime.fromisoformat(e.time) for e in events]
    assert times == sorted(times)
    assert times[0].utcoffset() is not None


def test_the_frames_before_a_gap_do_not_count_with_those_after_it(bundle_path: Path, photos: Path) -> None:
    with Classifier.open(bundle_path) as classifier:

        def changes(*labels: str) -> list[str]:
            frames = shown(*labels, photos=photos)
            return [e.prediction.label for e in watch(classifier, frames, Steady(3), lambda _: None)]

        assert changes("0", "0", "0") == ["0"]
        assert changes("0", "0", "gap", "0", "1") == []
        assert changes("0", "0", "0", "1") == ["0"]


def test_frames_that_end_early_are_answered_and_those_that_do_not_agree_are_told(
    bundle_path: Path, photos: Path
) -> None:
    with Classifier.open(bundle_path) as classifier:

        def told(labels: str, window: int) -> tuple[list[tuple[str, str | None, int, str | None]], list[str]]:
            notes: list[str] = []
            events = list(watch(classifier, shown(*labels, photos=photos), Steady(window), notes.append))
            return [(e.prediction.label, e.was, e.frame, e.name) for e in events], notes

        assert told("0", 5) == ([("0", None, 1, "0")], [])
        assert told("0001", 5) == ([("0", None, 3, "0")], [])  # the frame is one that shows it
        share = "no answer had more than two thirds of"
        assert told("01", 5) == ([], [f"{share} the 2 frames; --smooth 1 tells every change"])
        assert told("010101", 5) == ([], [f"{share} 5 frames in a row; --smooth 1 tells every change"])
        assert told("000001", 5) == ([("0", None, 4, "0")], [])
        assert told("", 5) == ([], [])


def test_unknown_is_a_change_and_keeps_the_nearest_guess(bundle_path: Path, photos: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    with Classifier.open(bundle_path) as classifier:
        frames = [Frame(photos / "2" / "0.png"), Frame(noise), Frame(noise, "BGR"), Frame(photos / "2" / "0.png")]
        events = list(watch(classifier, frames, Steady(1), lambda _: None))
    assert [(e.prediction.unknown, e.was) for e in events] == [(False, None), (True, "2"), (False, "unknown")]
    assert events[1].document()["label"] in "0123"


def test_a_bad_image_is_told_and_the_next_one_is_seen(bundle_path: Path, photos: Path) -> None:
    notes: list[str] = []
    with Classifier.open(bundle_path) as classifier:
        frames = [Frame(b"no image"), Frame(photos / "1" / "0.png")]
        (event,) = watch(classifier, frames, Steady(1), notes.append)
    assert event.frame == 1
    assert notes == ["image of 8 bytes: not an image in a format known here; convert it to JPEG or PNG"]


def test_what_is_enrolled_meanwhile_is_seen(bundle_path: Path, photos: Path) -> None:
    def frames() -> Iterator[Frame]:
        yield Frame(photos / "3" / "0.png")
        with Classifier.open(bundle_path) as other:
            other.enroll("drei", [photos / "3" / f"{i}.png" for i in range(4)])
        yield Frame(photos / "3" / "0.png")

    with Classifier.open(bundle_path) as classifier:
        before = classifier.predict(photos / "3" / "0.png").label
        events = list(watch(classifier, frames(), Steady(1), lambda _: None))
    assert [e.prediction.label for e in events] == [before, "drei"]


# --- the command


def test_a_video_for_people(tlc: Tlc, bundle_path: Path, video: Path) -> None:
    done = tlc("watch", bundle_path, "--camera", video)
    assert (done.code, done.err) == (0, f"watching {video} to its end\n")
    first, second = done.out.splitlines()
    assert re.fullmatch(r"0:00:00\.300  0 [01]\.\d\d", first)  # the time in the video: the fourth of ten a second
    assert re.fullmatch(r"0:00:02\.\d00  1 [01]\.\d\d  \(was: 0\)", second)


def test_a_video_for_machines_and_a_webhook(tlc: Tlc, bundle_path: Path, video: Path) -> None:
    server = Server()
    done = tlc("watch", bundle_path, "--camera", video, "--json", "--smooth", 1, "--webhook", url(server.port))
    server.stop()
    assert (done.code, done.err) == (0, f"watching {video} to its end\n")
    events = [json.loads(line) for line in done.out.splitlines()]
    changes = [(e["label"], e["was"], e["frame"]) for e in events]
    odd = changes[1][0]  # whatever a network of forty digits takes that frame for
    assert changes == [("0", None, 1), (odd, "0", 11), ("0", odd, 12), ("1", "0", 21)]
    assert all(
        e.keys() == {"time", "label", "score", "source", "unknown", "was", "frame", "image", "seconds"} for e in events
    )
    assert [json.loads(body) for body in server.bodies()] == events


def test_a_dead_webhook_is_told_and_costs_no_line(tlc: Tlc, bundle_path: Path, video: Path) -> None:
    done = tlc("watch", bundle_path, "--camera", video, "--webhook", url(free_port()))
    assert done.code == 0
    assert len(done.out.splitlines()) == 2
    assert done.err.splitlines() == [
        f"watching {video} to its end",
        "webhook 127.0.0.1: Connection refused; trying again",
        "webhook 127.0.0.1: 2 messages not delivered",
    ]


def test_a_photo_and_a_video_shorter_than_the_smoothing_are_answered(
    tlc: Tlc, bundle_path: Path, photos: Path, tmp_path: Path
) -> None:
    pytest.importorskip("cv2")
    for label in "01":
        picture = np.asarray(Image.open(photos / label / "0.png").convert("RGB").resize((224, 224)))
        photo = tmp_path / f"photo_{label}.png"
        Image.fromarray(picture).save(photo)
        for path in (photo, write_video(tmp_path / f"two_{label}.avi", [picture] * 2)):
            done = tlc("watch", bundle_path, "--camera", path, "--json")
            assert (done.code, done.err) == (0, f"watching {path} to its end\n"), path
            event = done.json()
            assert (event["label"], event["was"]) == (label, None), path


def test_a_file_without_a_frame_is_told(tlc: Tlc, bundle_path: Path, photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("cv2")
    whole = write_video(tmp_path / "whole.avi", [np.zeros((48, 64, 3), np.uint8)] * 9)
    files = {
        "text.jpg": b"not a photo\n" * 20,
        "cut.png": (photos / "0" / "0.png").read_bytes()[:60],
        "head.avi": whole.read_bytes()[:2048],
        "empty.mp4": b"",
    }
    for name, data in files.items():
        path = tmp_path / name
        path.write_bytes(data)
        done = tlc("watch", bundle_path, "--camera", path)
        said = (
            rf"Error: {re.escape(str(path))}(: not one frame can be read| cannot be opened); check that it is a video"
        )
        assert re.match(said, done.failed()), done.err
        assert (done.out, done.err.count("\n")) == ("", 1)  # and not a word of OpenCV's


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--camera", "nowhere"], "Error: nowhere: no such file or folder; give a camera's number, a video"),
        (["--camera", ".", "--webhook", "kitchen"], "Error: --webhook …: expected http://HOST"),
        (["--camera", ".", "--mqtt", "kitchen"], "Error: --mqtt …: expected [mqtts://]HOST[:PORT]/TOPIC"),
        (["--camera", ".", "--smooth", "20000"], "Error: smoothing over 20000 frames, expected 1 to 10000"),
        ([], "Missing option '--source' / '--camera'"),
    ],
)
def test_mistakes(tlc: Tlc, bundle_path: Path, options: list[str], said: str) -> None:
    done = tlc("watch", bundle_path, *options)
    assert said in done.failed(1 if "nowhere" in options else 2)
    assert done.out == ""


class Running:
    """The command, in a process of its own, that watches a folder."""

    def __init__(self, *args: object) -> None:
        self.child = subprocess.Popen(
            [*COMMAND, *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self._readers: list[threading.Thread] = []
        self.out, self.err = (self._lines(stream) for stream in (self.child.stdout, self.child.stderr))

    def _lines(self, stream: Any) -> queue.Queue[str]:
        lines: queue.Queue[str] = queue.Queue()

        def read() -> None:
            with stream:
                for line in stream:
                    lines.put(line)

        self._readers.append(threading.Thread(target=read))
        self._readers[-1].start()
        return lines

    def stop(self, how: signal.Signals = signal.SIGINT) -> int:
        self.child.send_signal(how)
        code = self.child.wait(PATIENCE)
        for reader in self._readers:
            reader.join(PATIENCE)
        return code


def put(picture: Path, folder: Path, name: str) -> Path:
    """Put a file into a folder in one go."""
    (folder / f".{name}").write_bytes(picture.read_bytes())
    return (folder / f".{name}").rename(folder / name)


def test_a_folder_until_ctrl_c(bundle_path: Path, photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    put(photos / "3" / "0.png", folder, "old.png")
    text = tmp_path / "text"
    text.write_text("no image")
    running = Running("watch", bundle_path, "--camera", folder, "--json")
    try:
        assert running.err.get(timeout=PATIENCE) == f"watching {folder} and its sub-folders for new images\n"
        number = 0
        while running.out.empty():  # until it has begun to look
            assert running.child.poll() is None, running.err.get(timeout=1)
            put(photos / "0" / "0.png", folder, f"{number}.png")
            number += 1
            time.sleep(0.5)
        first = json.loads(running.out.get())
        assert (first["label"], first["was"]) == ("0", None)
        assert Path(first["image"]).parent == folder
        bad = put(text, folder, "bad.png")
        assert running.err.get(timeout=PATIENCE).startswith(f"{bad}: not an image")
        one = put(photos / "1" / "0.png", folder, "one.png")
        second = json.loads(running.out.get(timeout=PATIENCE))
        assert (second["label"], second["was"], second["image"]) == ("1", "0", str(one))
    finally:
        code = running.stop()
    assert code == 1
    assert "".join(running.err.get(timeout=PATIENCE) for _ in range(2)) == f"\n{LINE}\n"


@pytest.mark.parametrize("answers", [True, False], ids=["slow", "dead"])
def test_sigterm_sends_what_is_left_or_says_what_is_lost(
    bundle_path: Path, photos: Path, tmp_path: Path, answers: bool
) -> None:
    (tmp_path / "in").mkdir()
    go = threading.Event()
    server = Server(0, go)
    port = server.port if answers else free_port()
    running = Running("watch", bundle_path, "--camera", tmp_path / "in", "--json", "--webhook", url(port))
    try:
        assert running.err.get(timeout=PATIENCE).startswith("watching ")
        for number, label in enumerate("0101"):
            put(photos / label / "0.png", tmp_path / "in", f"{number}.png")
            running.out.get(timeout=PATIENCE)
        threading.Timer(0.5, go.set).start()
    finally:
        code = running.stop(signal.SIGTERM)
    server.stop()
    said = [running.err.get() for _ in range(running.err.qsize())]
    assert code == -signal.SIGTERM  # which systemd takes for a good end, and a shell for 143
    lost = ["webhook 127.0.0.1: Connection refused; trying again\n", "webhook 127.0.0.1: 4 messages not delivered\n"]
    assert said == [*([] if answers else lost), f"{LINE}\n"]
    assert [json.loads(body)["label"] for body in server.bodies()] == list("0101" if answers else "")


# --- for however long


def grown(classifier: Classifier, frames: int, shape: tuple[int, int, int]) -> int:
    """Watch so many frames and return by how many bytes the process has grown since the first ones."""
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, shape, dtype=np.uint8) for _ in range(7)]
    marks: list[int] = []

    def many() -> Iterator[Frame]:
        for i in range(frames):
            if i in (frames // 10, frames - 1):
                gc.collect()
                marks.append(resident() or 0)
            yield Frame(pictures[i % 7], "BGR")

    events = sum(1 for _ in watch(classifier, many(), Steady(5), lambda _: None))  # none of them is kept
    assert 0 < events < frames
    if not marks[0]:
        pytest.skip("this system does not tell how much memory a process holds")
    return marks[1] - marks[0]


@pytest.mark.parametrize("frames", [20_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_memory_stays_flat(
    frames: int, photos: Path, tmp_path: Path, digits: dict[str, list[NDArray[np.uint8]]]
) -> None:
    """With a network so small that they take seconds; a frame, or a prediction, that stays would be seen."""
    path = tmp_path / "sketch.tlc"
    small: dict[str, Any] = {"backbone": str(SKETCH), "pool": "flatten", "scheme": "float32", "max_drop": 90}
    build(Options(data=str(photos), targets=("rpi",), output=path, **small))
    with Classifier.open(path, threads=1) as classifier:
        classifier.enroll("seven", digits["7"][:3])
        # A frame has 3,840 bytes and a prediction about 1,700: 69 and 31 MB for the 18,000 that are counted. The
        # allocator's own coming and going, more in a process that has run other tests before, was 2 to 7 MB.
        assert grown(classifier, frames, (32, 40, 3)) < 16_000_000  # bytes
