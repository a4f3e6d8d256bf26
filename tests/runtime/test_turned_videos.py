"""Videos of telephones, which say how to turn them: frames stand as every player shows them."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tlc_edge.runtime.watch.camera import quarter_turns
from tlc_edge.runtime.watch.frames import Frame, open_frames

Pixels = NDArray[np.uint8]


def ffmpeg(*words: object, data: bytes = b"") -> bytes:
    """Run FFmpeg, which a package for the tests brings; return what it prints."""
    tool: Any = pytest.importorskip("imageio_ffmpeg")
    command = [tool.get_ffmpeg_exe(), "-y", "-loglevel", "error", *map(str, words)]
    return subprocess.run(command, input=data, capture_output=True, check=True).stdout


@pytest.fixture(scope="module")
def corners(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five frames, 64 wide and 32 high, with a colour of its own in each corner."""
    pixels = np.zeros((32, 64, 3), np.uint8)
    pixels[:16, :32], pixels[:16, 32:], pixels[16:, :32], pixels[16:, 32:] = (255, 0, 0), (0, 255, 0), (0, 0, 255), 255
    path = tmp_path_factory.mktemp("turned") / "plain.mp4"
    raw = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "64x32", "-r", 10, "-i", "-")
    ffmpeg(*raw, "-c:v", "mpeg4", "-q:v", 1, path, data=pixels.tobytes() * 5)
    return path


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_frames_stand_as_ffmpeg_shows_them(degrees: int, corners: Path, tmp_path: Path) -> None:
    pytest.importorskip("cv2")
    turned = tmp_path / "turned.mp4"
    ffmpeg("-display_rotation", degrees, "-i", corners, "-c", "copy", turned)
    shape = (32, 64, 3) if degrees % 180 == 0 else (64, 32, 3)
    shown = np.frombuffer(ffmpeg("-i", turned, "-frames:v", 1, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"), np.uint8)
    seen = [frame for frame in open_frames(str(turned)).frames if isinstance(frame, Frame)]
    assert len(seen) == 5
    for frame in seen:
        image = frame.image
        assert isinstance(image, np.ndarray)
        assert frame.order == "BGR"
        assert image.flags.c_contiguous
        assert np.abs(image[:, :, ::-1].astype(int) - shown.reshape(shape)).mean() < 12


# What each version said of videos that FFmpeg turns to the left by 0, 90, 180 and 270 degrees.
@pytest.mark.parametrize(
    ("version", "told"),
    [(v, (0, 270, 180, 90)) for v in ("4.5.5", "4.7.0", "4.8.1", "4.10.0", "4.11.0", "4.14.0", "5.0.0")]
    + [("4.6.0", (0, 90, 180, 270))],
)
def test_versions_that_tell_it_the_other_way_round_are_known(version: str, told: tuple[float, ...]) -> None:
    assert [quarter_turns(degrees, version) for degrees in told] == [0, 1, 2, 3]


@pytest.mark.parametrize("degrees", [0.0, 45.0, 359.0, -30.0])
def test_what_is_no_quarter_is_left_as_it_is(degrees: float) -> None:
    assert quarter_turns(degrees, "5.0.0") == 0
