"""`watch --save-unknown`: what was unknown or unsure is kept, within bounds, for its owner alone."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from command_runs import Done, here
from PIL import Image
from test_enroll_frames import Pixels, scene
from test_watch import write_video

from tlc_edge.runtime import Classifier, DeviceError
from tlc_edge.runtime.knn.prediction import Prediction, Ranked
from tlc_edge.runtime.watch.frames import Frame
from tlc_edge.runtime.watch.unsure import Unsure, unsure

Tlc = Callable[..., Done]


@pytest.fixture
def tlc(capfd: pytest.CaptureFixture[str]) -> Tlc:
    return lambda *args: here(capfd, *args)


@pytest.fixture
def classifier(bundle_path: Path) -> Iterator[Classifier]:
    with Classifier.open(bundle_path) as opened:
        yield opened


def answered(*scores: float, unknown: bool = False) -> Prediction:
    ranked = tuple(Ranked(f"{i}", score) for i, score in enumerate(scores))
    return Prediction("0", scores[0], "head", unknown, ranked, (), 0.5, {})


STRANGE = answered(0.9, 0.1, unknown=True)
SURE = answered(0.9, 0.1)


def noise(size: int = 40) -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)


def test_unsure_is_what_is_unknown_or_leads_by_less_than_a_quarter() -> None:
    assert unsure(STRANGE)
    assert unsure(answered(0.6, 0.4))
    assert not unsure(answered(0.65, 0.35))
    assert not unsure(answered(1.0))
    assert unsure(answered(1.0, unknown=True))


def test_it_keeps_what_is_strange_and_leaves_alone_what_is_sure(classifier: Classifier, tmp_path: Path) -> None:
    folder = tmp_path / "a" / "unknown"
    kept = Unsure(folder, classifier, lambda _: None)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert kept.see(Frame(noise(), name="a.png"), SURE) is None
    path = kept.see(Frame(noise(), name="a.png"), STRANGE)
    assert path is not None
    assert [*folder.iterdir()] == [path]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with Image.open(path) as image:
        assert (image.format, image.size) == ("JPEG", (40, 40))


def test_colours_are_those_of_the_frame_and_large_ones_are_made_smaller(classifier: Classifier, tmp_path: Path) -> None:
    kept = Unsure(tmp_path, classifier, lambda _: None)
    red = np.full((1000, 2000, 3), (220, 30, 20), np.uint8)
    path = kept.see(Frame(np.ascontiguousarray(red[:, :, ::-1]), "BGR"), STRANGE)
    assert path is not None
    with Image.open(path) as image:
        assert image.size == (1280, 640)
        assert np.abs(np.asarray(image).astype(int) - (220, 30, 20)).max() < 8


def test_what_repeats_a_kept_one_is_left_out(classifier: Classifier, tmp_path: Path) -> None:
    kept = Unsure(tmp_path, classifier, lambda _: None)
    found = [kept.see(Frame(scene(noise=i), name=f"{i}"), STRANGE) for i in range(4)]
    assert [path is not None for path in found] == [True, False, False, False]
    assert kept.see(Frame(scene(90, noise=9), name="9"), STRANGE) is not None


def test_of_a_camera_it_keeps_one_a_second_of_a_folder_all(
    classifier: Classifier, different: list[Pixels], tmp_path: Path
) -> None:
    now = [0.0]
    kept = Unsure(tmp_path / "a", classifier, lambda _: None, clock=lambda: now[0])
    times = (0.0, 0.4, 0.9, 1.0, 1.5, 2.1)
    found: list[bool] = []
    for i, at in enumerate(times):
        now[0] = at
        found.append(kept.see(Frame(different[i]), STRANGE) is not None)
    assert found == [True, False, False, True, False, True]
    video = Unsure(tmp_path / "b", classifier, lambda _: None, clock=lambda: 0.0)
    in_video = [video.see(Frame(different[i], seconds=at), STRANGE) for i, at in enumerate(times)]
    assert [path is not None for path in in_video] == found
    files = Unsure(tmp_path / "c", classifier, lambda _: None, clock=lambda: 0.0)
    assert all(files.see(Frame(different[i], name=f"{i}.png"), STRANGE) for i in range(3))


@pytest.mark.parametrize(("most", "size"), [(3, 10**9), (10**6, 9000)])
def test_the_oldest_give_way_and_nothing_else(
    most: int, size: int, classifier: Classifier, different: list[Pixels], tmp_path: Path
) -> None:
    notes: list[str] = []
    (tmp_path / "mine.jpg").write_bytes(b"x" * 9000)
    (tmp_path / "cup").mkdir()
    kept = Unsure(tmp_path, classifier, notes.append, most=most, most_bytes=size)
    paths = [kept.see(Frame(different[i], name=f"{i}"), STRANGE) for i in range(8)]
    held = sorted(p for p in tmp_path.glob("2*.jpg"))
    assert held == [p for p in paths if p is not None][-len(held) :]
    assert 0 < len(held) < 8
    assert len(held) <= most
    assert sum(p.stat().st_size for p in held) <= size
    assert (tmp_path / "mine.jpg").exists()
    assert (tmp_path / "cup").exists()
    assert notes == [f"{tmp_path}: full; the oldest pictures give way, `tlc label` makes room"]


def test_a_folder_that_cannot_be_written_to_is_told(
    classifier: Classifier, different: list[Pixels], tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"")
    with pytest.raises(DeviceError, match="choose a folder that can be written to"):
        Unsure(file / "in", classifier, lambda _: None)
    notes: list[str] = []
    gone = Unsure(tmp_path / "gone", classifier, notes.append)
    (tmp_path / "gone").rmdir()
    assert [gone.see(Frame(different[i], name=f"{i}"), STRANGE) for i in range(3)] == [None] * 3
    assert notes == [f"{tmp_path / 'gone'}: No such file or directory; pictures of what is unknown are not kept"]
    (tmp_path / "gone").mkdir()
    assert gone.see(Frame(different[9], name="9"), STRANGE) is not None
    assert gone.see(Frame(b"no picture", name="b"), STRANGE) is None


# --- the command


def test_watch_keeps_what_is_unknown(tlc: Tlc, bundle_path: Path, photos: Path, tmp_path: Path) -> None:
    known = np.asarray(Image.open(photos / "0" / "0.png").convert("RGB").resize((224, 224)))
    video = write_video(tmp_path / "v.avi", [known] * 10 + [noise(224)] * 10)
    folder = tmp_path / "unknown"
    with Classifier.open(bundle_path) as classifier:
        assert not unsure(classifier.predict(known))
        assert unsure(classifier.predict(noise(224)))
    done = tlc("watch", bundle_path, "--camera", video, "--save-unknown", folder)
    assert done.code == 0
    assert len([*folder.iterdir()]) == 1
    assert not (tmp_path / "photos.tlc.gallery").exists()


def test_what_cannot_be_meant_is_told(tlc: Tlc, bundle_path: Path, tmp_path: Path) -> None:
    watched = ("watch", bundle_path, "--camera", tmp_path)
    assert "go with --save-unknown" in tlc(*watched, "--save-most", 3).failed(2)
    assert "go with --save-unknown" in tlc(*watched, "--save-megabytes", 3).failed(2)
    assert "lies in the folder that is watched" in tlc(*watched, "--save-unknown", tmp_path / "a" / "b").failed(2)
    assert "lies in the folder that is watched" in tlc(*watched, "--save-unknown", tmp_path).failed(2)
    assert not (tmp_path / "a").exists()
