"""Teaching from a camera, a video or a folder: spread over time, without repeats, each on disk before the next."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_runs import COMMAND, Done, here
from numpy.typing import NDArray
from PIL import Image
from test_watch import write_video

from tlc_edge.runtime import Classifier, DeviceError, Gallery, UsageError
from tlc_edge.runtime.gallery.records import Change
from tlc_edge.runtime.watch.distinct import Distinct
from tlc_edge.runtime.watch.enroll_frames import Stopped, enroll_frames
from tlc_edge.runtime.watch.frames import Frame, Gap

Tlc = Callable[..., Done]
Pixels = NDArray[np.uint8]


@pytest.fixture
def tlc(capfd: pytest.CaptureFixture[str]) -> Tlc:
    return lambda *args: here(capfd, *args)


@pytest.fixture
def classifier(bundle_path: Path) -> Iterator[Classifier]:
    with Classifier.open(bundle_path) as opened:
        yield opened


def scene(turned: float = 0.0, noise: int | None = None) -> Pixels:
    """Return a picture of a thing that stands at an angle, as a sensor sees it: with noise of its own each time."""
    picture = Image.new("RGB", (448, 448), (190, 180, 160))
    thing = Image.new("RGB", (260, 120), (180, 40, 30))
    thing.paste((250, 240, 90), (20, 20, 120, 60))
    thing.paste((20, 60, 160), (150, 30, 240, 110))
    mask = Image.new("L", thing.size, 255).rotate(turned, expand=True)
    picture.paste(thing.rotate(turned, expand=True), (60, 60), mask)
    pixels = np.asarray(picture).astype(np.float64)
    if noise is not None:
        pixels += np.random.default_rng(noise).normal(0, 3, pixels.shape)
    return np.clip(pixels, 0, 255).astype(np.uint8)


def ids(bundle: Path) -> list[str]:
    with Gallery.open_any(bundle.with_suffix(".tlc.gallery")) as gallery:
        return [e.source_name for e in gallery.examples()]


# --- near-equal frames


def test_noise_is_nothing_new_and_a_turn_is(classifier: Classifier) -> None:
    distinct = Distinct(classifier)
    assert distinct.take(scene(noise=0))
    assert not any(distinct.take(scene(noise=n)) for n in range(1, 8))
    assert distinct.take(scene(40, noise=8))
    assert distinct.take(scene(90, noise=9))
    assert not distinct.take(scene(noise=10))  # of all that were taken, not of the latest alone
    assert not distinct.take(scene(noise=10)[:, :, ::-1], "BGR")


# --- the library


def test_frames_that_repeat_others_are_left_out_and_told_once_in_a_row(classifier: Classifier) -> None:
    notes: list[str] = []
    turns = [0, 0, 0, 40, 0, 90]
    frames = [Frame(scene(turn, noise=i)) for i, turn in enumerate(turns)]
    done = enroll_frames(classifier, "thing", frames, 6, note=notes.append)
    assert (done.added, done.classes) == (3, {"thing": 3})
    assert notes == ["nothing new to see; move it, turn it, or change the light"] * 2 + [
        "3 of 6 frames left out, which repeat others"
    ]


def test_it_takes_no_more_than_asked_and_each_is_on_disk_when_it_is_told(
    classifier: Classifier, bundle_path: Path, different: list[Pixels]
) -> None:
    told: list[tuple[str, int]] = []

    def tell(name: str, change: Change) -> None:
        told.append((name, change.added))
        assert len(ids(bundle_path)) == len(told)

    frames = iter([Frame(pixels, name=f"{i}.jpg") for i, pixels in enumerate(different[:6])])
    done = enroll_frames(classifier, "thing", frames, 3, enrolled=tell)
    assert (done.added, told) == (3, [("0.jpg", 1), ("1.jpg", 1), ("2.jpg", 1)])
    assert ids(bundle_path) == ["0.jpg", "1.jpg", "2.jpg"]
    assert len(list(frames)) == 3
    assert done.base is not None


def test_where_nothing_changes_it_ends(classifier: Classifier) -> None:
    looked: list[int] = []

    def still() -> Iterator[Frame]:
        for i in range(1000):
            looked.append(i)
            yield Frame(scene(noise=i))

    assert enroll_frames(classifier, "thing", still(), 2).added == 1
    assert len(looked) == 20


def test_frames_of_a_video_are_taken_apart_in_its_own_time(
    classifier: Classifier, bundle_path: Path, different: list[Pixels]
) -> None:
    frames = [Frame(pixels, seconds=i / 10) for i, pixels in enumerate(different)]
    assert enroll_frames(classifier, "thing", frames, 9, every=0.3, name="v.avi").added == 4
    assert ids(bundle_path) == [f"v.avi 0:00:00.{i}00" for i in (0, 3, 6, 9)]
    assert enroll_frames(classifier, "other", frames, 9, name="v.avi").added == 9


def test_gaps_and_broken_pictures_are_told_and_survived(classifier: Classifier) -> None:
    notes: list[str] = []
    frames: list[Frame | Gap] = [Gap("gone"), Frame(b"\xff\xd8\xff", name="b.jpg"), Gap("back"), Frame(scene())]
    assert enroll_frames(classifier, "thing", frames, 5, note=notes.append).added == 1
    assert (notes[0], notes[2]) == ("gone", "back")
    assert notes[1].startswith("image of 3 bytes: ")


def test_nothing_to_enroll_is_an_error_and_makes_no_class(classifier: Classifier) -> None:
    with pytest.raises(DeviceError, match=r"v\.avi: no frame that can be enrolled"):
        enroll_frames(classifier, "thing", [Gap("gone"), Frame(b"no")], 5, name="v.avi")
    with pytest.raises(UsageError, match="cannot name a class"):
        enroll_frames(classifier, " ", iter(()), 5)
    assert "thing" not in classifier.classes()


def test_ctrl_c_says_what_was_enrolled_and_stays(classifier: Classifier, different: list[Pixels]) -> None:
    def pressed(count: int) -> Iterator[Frame]:
        yield from map(Frame, different[:count])
        raise KeyboardInterrupt

    with pytest.raises(Stopped) as stopped:
        enroll_frames(classifier, "thing", pressed(2), 5)
    assert (stopped.value.change.added, classifier.classes()["thing"]) == (2, 2)
    with pytest.raises(KeyboardInterrupt) as nothing:
        enroll_frames(classifier, "other", pressed(0), 5)
    assert not isinstance(nothing.value, Stopped)


# --- the command


@pytest.fixture
def video(tmp_path: Path, different: list[Pixels]) -> Path:
    """Half a second of each picture."""
    return write_video(tmp_path / "v.avi", [different[i // 5] for i in range(30)])


def test_enroll_from_a_video(tlc: Tlc, bundle_path: Path, video: Path) -> None:
    done = tlc("enroll", bundle_path, "thing", "--camera", video, "--count", 3)
    assert done.code == 0
    assert done.out.splitlines()[:2] == ["thing: 3 examples added", "enrolled: thing 3"]
    assert done.err.splitlines() == [
        f"watching {video} to its end",
        *(f"{i + 1}/3  {video} 0:00:0{i / 2:.3f}" for i in range(3)),
    ]
    again = tlc("enroll", bundle_path, "thing", "--camera", video, "--count", 2, "--every", 1, "--json")
    document = again.json()
    assert (document["added"], document["skipped"], document["classes"]) == (1, 2, {"thing": 4})
    assert [w["kind"] for w in document["warnings"]].count("duplicate") == 2
    assert "left out  " in again.err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "nothing to enroll"),
        (("a.jpg", "--camera", "0"), "give one of them"),
        (("a.jpg", "--count", "3"), "go with --camera"),
        (("a.jpg", "--every", "0"), "go with --camera"),
        (("--camera", "0", "--count", "0"), "--count"),
        (("--camera", "0", "--every", "nan"), "--every"),
    ],
)
def test_what_cannot_be_meant_is_told(words: tuple[str, ...], says: str, tlc: Tlc, bundle_path: Path) -> None:
    assert says in tlc("enroll", bundle_path, "thing", *words).failed(2)


def test_a_camera_that_is_not_there_makes_no_gallery(tlc: Tlc, bundle_path: Path, tmp_path: Path) -> None:
    assert "gone.avi: no such file" in tlc("enroll", bundle_path, "thing", "--camera", tmp_path / "gone.avi").failed(1)
    assert not bundle_path.with_suffix(".tlc.gallery").exists()


@pytest.mark.parametrize("as_json", [False, True])
def test_ctrl_c_keeps_what_was_acknowledged(as_json: bool, bundle_path: Path, photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "incoming"
    folder.mkdir()
    command = [*COMMAND, "enroll", str(bundle_path), "thing", "--camera", str(folder), *["--json"] * as_json]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        assert running.stderr.readline().startswith("watching ")
        for i, label in enumerate("01"):
            (folder / f"{label}.png").write_bytes((photos / label / "0.png").read_bytes())
            assert running.stderr.readline().startswith(f"{i + 1}/20  ")
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=60)
    assert running.returncode == 1
    kept = "thing: 2 enrolled before that, which stay"
    assert err.split("\n", 1)[1] == f"Interrupted; nothing was left half-written.\n       ({kept})\n"
    assert len(ids(bundle_path)) == 2
    error: Any = json.loads(out)["error"] if as_json else {"notes": [kept]}
    assert error["notes"] == [kept]
