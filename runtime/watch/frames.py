"""Frames one after the other: new images in a folder, or a camera through `tlc_edge.runtime.watch.camera`.

A source is a generator of frames and gaps. It ends when its video does; a folder and a camera never end,
and survive that they vanish.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path

from tlc_edge.runtime.errors import DeviceError
from tlc_edge.runtime.images.load import Source, source_name

from .address import is_address
from .alive import nothing, wait
from .camera import is_video_file, named, open_live, read_video
from .snapshots import USUAL, Snapshots, snapshots

_POLL = 0.25
_KEPT = 10_000
"""Names of files that are gone are remembered up to this number: a card that comes back holds them again."""

_Stamp = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Frame:
    """One image to look at."""

    image: Source
    order: str = "RGB"
    name: str | None = None
    """The file that it is, where it is one."""
    seconds: float | None = None
    """Its time in the video, where it is of one."""


@dataclass(frozen=True)
class Gap:
    """The frames before and after do not follow each other; `text` says why to the person."""

    text: str
    is_there: bool = False
    """Whether what is watched can be seen all the same: it is back, or a part of it is passed over."""


Frames = Generator[Frame | Gap]


@dataclass(frozen=True)
class Watched:
    """What is watched."""

    text: str
    """For the person; no secret of an address is in it."""
    frames: Frames


def open_frames(where: str, every: float = 0.0, beat: Callable[[], None] = nothing) -> Watched:
    """Open a camera (its number or device), an address, a video file, or a folder of images.

    Of a live camera each frame is the newest there is, at most one in `every` seconds. An address that gives one
    photo per request is asked every `every` seconds, or each second where that is 0. `beat` is called every few
    seconds while a frame is waited for, of all but a video.

    Raises:
        DeviceError: there is no such thing, it cannot be opened, or OpenCV is missing; at once, not later.
    """
    if is_folder(where):
        return Watched(f"{source_name(where)} and its sub-folders for new images", new_images(Path(where), beat=beat))
    if is_video_file(where):
        read, order = read_video(where)
        frames: Frames = (Frame(image, order, seconds=seconds) for image, seconds in read)
        return Watched(f"{source_name(where)} to its end", frames)
    if is_address(where) and where.lower().startswith(("http://", "https://")):
        camera = Snapshots(where)
        first = camera.fetch()
        if first is not None:
            every = every or USUAL
            photos = snapshots(first, camera.fetch, camera.name, every, beat=beat)
            return Watched(f"{camera.name}, a photo every {every:g} s", _photos(photos))
    often = f", a frame every {every:g} s" if every else ""
    return Watched(f"{named(where)}{often}", _live(where, every, beat))


def is_folder(where: str) -> bool:
    """Return whether it is a folder, to be watched for new images."""
    return os.path.isdir(where)  # noqa: PTH112 - Path raises for some names


def new_images(folder: Path, poll: float = _POLL, beat: Callable[[], None] = nothing) -> Frames:
    """Yield each image that is put into `folder`, or a folder in it, or changed there, when it is whole, oldest first.

    Folders that come later count too, at any depth. A file is whole when its size and time stay the same from one
    look to the next. Hidden files and folders are left out: programs write those that are not done yet. Links to
    folders are not followed.
    """
    seen = _look(folder, set())
    if seen is None:
        raise DeviceError(
            f"{source_name(folder)}: cannot be read; give a folder, a camera's number, a file or an address"
        )
    return _watch_folder(folder, seen, poll, beat)


def _watch_folder(folder: Path, seen: dict[str, _Stamp], poll: float, beat: Callable[[], None]) -> Frames:
    told: set[str] = set()
    growing: dict[str, _Stamp] = {}
    gone = False
    while True:
        beat()
        start = time.monotonic()
        closed: set[str] = set()
        found = _look(folder, closed)
        took = time.monotonic() - start
        if found is None:
            if not gone:
                yield Gap(f"{folder}: gone; waiting for it")
            gone = True
        else:
            if gone:
                yield Gap(f"{folder}: back", is_there=True)
            gone = False
            for way in sorted(closed - told):
                yield Gap(f"{source_name(folder / way)}: may not be read; passed over", is_there=True)
            told |= closed
            changed = {name: stamp for name, stamp in found.items() if seen.get(name) != stamp}
            ready = [name for name, stamp in changed.items() if growing.get(name) == stamp]
            growing = {name: stamp for name, stamp in changed.items() if name not in ready}
            for _, name in sorted((changed[name], name) for name in ready):
                seen[name] = changed[name]
                path = folder / name
                yield Frame(path, name=source_name(path))
            if len(seen) > 2 * len(found) + _KEPT:
                seen = {name: stamp for name, stamp in seen.items() if name in found}
        # A folder of very many files is looked through less often, so that looking takes a tenth of the time.
        wait(max(poll, 10 * took), beat)


def _look(top: Path, closed: set[str]) -> dict[str, _Stamp] | None:
    """Return time and size of every file that is not hidden, by its way from `top`; None where that cannot be read.

    The ways of folders in it that may not be read are added to `closed`.
    """
    found: dict[str, _Stamp] = {}
    folders = [""]
    while folders:
        below = folders.pop()
        try:
            with os.scandir(top / below) as entries:
                for entry in entries:
                    with contextlib.suppress(OSError):  # gone between the two
                        _take(entry, below, found, folders)
        except PermissionError:
            if not below:
                return None
            closed.add(below)
        except (OSError, ValueError):
            if not below:
                return None
    return found


def _take(entry: os.DirEntry[str], below: str, found: dict[str, _Stamp], folders: list[str]) -> None:
    if entry.name.startswith("."):
        return
    way = os.path.join(below, entry.name)  # noqa: PTH118 - the keys are strings: there may be very many
    if entry.is_dir(follow_symlinks=False):
        folders.append(way)
    elif entry.is_file():
        status = entry.stat()
        found[way] = (status.st_mtime_ns, status.st_size)


def _photos(items: Generator[bytes | str]) -> Frames:
    for item in items:
        yield Gap(item) if isinstance(item, str) else Frame(item)


def _live(where: str, every: float, beat: Callable[[], None]) -> Frames:
    stream = open_live(where, beat)  # at once: a mistake in `where` is told before anything runs
    return _follow(stream, every)


def _follow(stream: Generator[tuple[Source, str] | str], every: float) -> Frames:
    due = time.monotonic()
    for item in stream:
        if isinstance(item, str):
            yield Gap(item)
        elif time.monotonic() >= due:
            due = time.monotonic() + every
            yield Frame(item[0], item[1])
