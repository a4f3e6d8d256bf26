"""Cameras and videos: OpenCV for all of them, picamera2 for a Raspberry Pi's own camera where it is installed.

A thread reads a live camera, so that each frame is the newest one and none waits in a queue; it is opened
again for as long as it is gone.
"""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Callable, Generator
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from tlc_edge.runtime.errors import DeviceError
from tlc_edge.runtime.images.load import source_name
from tlc_edge.runtime.optional import NotThereError, load
from tlc_edge.runtime.quiet import quiet

from .address import is_address, shown
from .alive import nothing

Pixels = NDArray[np.uint8]
_STALLED = 10.0
"""Seconds without a frame after which the person is told."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 5.0
_TIMEOUT = 5000
"""Milliseconds that an address may take to answer, and between two frames."""
_PI_SIZE = (640, 480)
_WHOLE = "check that it is a video, whole, and of a format that OpenCV knows"


class Capture(Protocol):
    """An opened camera."""

    order: str
    """`RGB` or `BGR`, of its frames."""

    def read(self) -> Pixels | None:
        """Wait for the next frame, uint8 [H, W, 3]; None when there will be none."""
        ...

    def close(self) -> None:
        """Let go of the camera."""
        ...


class _OpenCv:
    """Whatever OpenCV opens: a camera's number or device, an address, a video file."""

    order = "BGR"

    def __init__(self, where: str) -> None:
        cv2 = _opencv(where)
        self._error: type[Exception] = cv2.error
        self._milliseconds = int(cv2.CAP_PROP_POS_MSEC)
        if is_address(where):
            limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _TIMEOUT, cv2.CAP_PROP_READ_TIMEOUT_MSEC, _TIMEOUT]
            self._capture: Any = cv2.VideoCapture(where, cv2.CAP_FFMPEG, limits)
        else:
            self._capture = cv2.VideoCapture(int(where) if where.isdecimal() else where)
        if not self._capture.isOpened():
            self._capture.release()
            check = _WHOLE if is_video_file(where) else "check that it is there and that nothing else uses it"
            raise DeviceError(f"{named(where)} cannot be opened; {check}")
        # Left to itself OpenCV 4.6 turns a telephone's video the wrong way round, and 4.11 not at all.
        self._turns = 0
        if self._capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 0):
            self._turns = quarter_turns(float(self._capture.get(cv2.CAP_PROP_ORIENTATION_META)), cv2.__version__)

    def read(self) -> Pixels | None:
        try:
            good, frame = self._capture.read()
        except self._error:
            return None  # a stream that changes its size or breaks in the middle
        if not good or frame is None:
            return None
        pixels = cast("Pixels", frame)
        return np.ascontiguousarray(np.rot90(pixels, self._turns)) if self._turns else pixels

    def seconds(self) -> float:
        """Return when the frame that was read last is shown, in seconds from the start of the video."""
        return max(0.0, float(self._capture.get(self._milliseconds)) / 1000)

    def close(self) -> None:
        self._capture.release()


def quarter_turns(degrees: float, version: str) -> int:
    """Return by how many quarters, to the left, frames must be turned to stand as they were filmed.

    `degrees` is OpenCV's CAP_PROP_ORIENTATION_META: how far to turn to the right. In OpenCV 4.6 it is how far to the
    left (https://github.com/opencv/opencv/issues/22088). What is no quarter is left as it is.
    """
    if degrees % 90:
        return 0
    quarters = int(degrees // 90) % 4
    return quarters if version.startswith("4.6.") else -quarters % 4


class _PiCamera:
    """A Raspberry Pi's own camera. Not among what the tests run: it takes the board."""

    order = "RGB"

    def __init__(self, number: int) -> None:
        module: Any = load("picamera2")
        try:
            self._camera: Any = module.Picamera2(number)
            # libcamera names the order of a word's bits: its BGR888 lies in memory as R, G, B.
            main = {"size": _PI_SIZE, "format": "BGR888"}
            self._camera.configure(self._camera.create_video_configuration(main=main))
            self._camera.start()
        except (RuntimeError, IndexError, OSError) as e:
            raise DeviceError(f"camera {number} cannot be opened ({e}); check its cable and that it is free") from None

    def read(self) -> Pixels | None:
        try:
            return cast("Pixels", self._camera.capture_array("main"))
        except (RuntimeError, OSError):
            return None

    def close(self) -> None:
        self._camera.stop()
        self._camera.close()


def is_video_file(where: str) -> bool:
    """Return whether it is a file that ends, not a device, a number or an address."""
    try:
        return stat.S_ISREG(os.stat(where).st_mode)  # noqa: PTH116 - Path refuses some names before it looks
    except (OSError, ValueError):
        return False


def read_video(where: str) -> tuple[Generator[tuple[Pixels, float]], str]:
    """Open a video file; return its frames, every one of them with its time in seconds, and the order of their colours.

    Raises:
        DeviceError: it cannot be opened, not one frame of it can be read, or OpenCV is missing.
    """
    with quiet():  # OpenCV's reader of AVI files prints what it dislikes, whatever its log level
        capture = _OpenCv(where)
        # Many a file is opened by its name alone, and nothing is said about what is not found in it.
        first = capture.read()
    if first is None:
        capture.close()
        raise DeviceError(f"{named(where)}: not one frame can be read; {_WHOLE}")
    return _frames(first, capture), capture.order


def _frames(first: Pixels, capture: _OpenCv) -> Generator[tuple[Pixels, float]]:
    frame: Pixels | None = first
    try:
        while frame is not None:
            yield frame, capture.seconds()
            frame = capture.read()
    finally:
        capture.close()


def open_live(where: str, beat: Callable[[], None] = nothing) -> Generator[tuple[Pixels, str] | str]:
    """Open a live camera by its number, device or address; return its frames, as `live_frames` does.

    Raises:
        DeviceError: there is none, or OpenCV is missing.
    """
    if not where.isdecimal() and not is_address(where) and not _is_device(where):
        raise DeviceError(
            f"{source_name(where)}: no such file or folder; give a camera's number, a video, a folder or an address"
        )
    return live_frames(lambda: _capture(where), named(where), beat=beat)


def live_frames(
    connect: Callable[[], Capture],
    name: str,
    pauses: tuple[float, float] = (_FIRST_PAUSE, _LONGEST_PAUSE),
    stalled: float = _STALLED,
    beat: Callable[[], None] = nothing,
) -> Generator[tuple[Pixels, str] | str]:
    """Connect, and return the newest frame with the order of its colours each time, for ever.

    When no frame comes any more a sentence for the person is yielded, and one when they come again; in
    between it is connected again and again, with pauses from the first to the second of `pauses` (seconds).
    `beat` is called each time round, whether there is a frame or not.

    Raises:
        DeviceError: the first connection fails; later ones are tried again.
    """
    return _newest_frames(_Newest(connect()), connect, name, pauses, stalled, beat)


def _newest_frames(
    newest: _Newest,
    connect: Callable[[], Capture],
    name: str,
    pauses: tuple[float, float],
    stalled: float,
    beat: Callable[[], None],
) -> Generator[tuple[Pixels, str] | str]:
    lost: float | None = None
    pause = pauses[0]
    try:
        while True:
            beat()
            frame = newest.take(stalled)
            if isinstance(frame, np.ndarray):
                if lost is not None:
                    yield f"{name}: back after {time.monotonic() - lost:.0f} s"
                lost, pause = None, pauses[0]
                yield frame, newest.order
                continue
            if lost is None:
                lost = time.monotonic()
                yield f"{name}: no picture any more; waiting for it"
            if frame == "ended":
                newest.close()
                time.sleep(pause)
                pause = min(2 * pause, pauses[1])
                newest = _again(connect) or newest
    finally:
        newest.close()


def _again(connect: Callable[[], Capture]) -> _Newest | None:
    try:
        return _Newest(connect())
    except DeviceError:
        return None


class _Newest:
    """Reads a capture in a thread and keeps the newest frame only."""

    def __init__(self, capture: Capture) -> None:
        self.order = capture.order
        self._capture = capture
        self._changed = threading.Condition()
        self._frame: Pixels | None = None
        self._ended = self._stop = False
        # Killed with the process where a read never comes back.
        self._thread = threading.Thread(target=self._run, name="camera", daemon=True)
        self._thread.start()

    def take(self, patience: float) -> Pixels | str:
        """Return the newest frame that was not taken yet; `stalled` after `patience` seconds, or `ended`."""
        with self._changed:
            self._changed.wait_for(lambda: self._frame is not None or self._ended, patience)
            frame, self._frame = self._frame, None
            if frame is not None:
                return frame
            return "ended" if self._ended else "stalled"

    def close(self) -> None:
        """Stop reading; the thread lets go of the camera when its last read is over."""
        self._stop = True
        self._thread.join(timeout=2)

    def _run(self) -> None:
        try:
            while not self._stop and (frame := self._capture.read()) is not None:
                with self._changed:
                    self._frame = frame
                    self._changed.notify()
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify()
            self._capture.close()


def _capture(where: str) -> Capture:
    broken = ""
    if where.isdecimal():
        try:
            cameras: Any = cast("Any", load("picamera2")).Picamera2.global_camera_info()
            if int(where) < len(cameras):
                return _PiCamera(int(where))
        except NotThereError as e:
            broken = "" if e.missing else f"; picamera2 {e}"
        except (RuntimeError, OSError, AttributeError) as e:
            broken = f"; picamera2 finds no camera ({e})"
    try:
        return _OpenCv(where)
    except DeviceError as e:
        raise DeviceError(f"{e}{broken}") from None


def _opencv(where: str) -> Any:
    # It and its FFmpeg print on the terminal what their callers are told anyway.
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    try:
        return load("cv2")
    except NotThereError as e:
        run = "" if "; " in str(e) else "; run: pip install opencv-python-headless"
        raise DeviceError(f"{named(where)} needs OpenCV, which {e}{run}") from None


def _is_device(where: str) -> bool:
    return os.path.exists(where)  # noqa: PTH110 - Path raises for some names


def named(where: str) -> str:
    """Return what messages call it: no secret of an address is for the terminal."""
    if where.isdecimal():
        return f"camera {where}"
    return shown(where) if is_address(where) else source_name(where)
