"""Frames one after the other: new images in a folder, or a camera through `tlc_edge.runtime.watch.camera`.

A source is a generator of frames and gaps. It ends when its video does; a folder and a camera never end,
and survive that they vanish.
"""

from __future__ import annotations

import os
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

from tlc_edge.runtime.errors import DeviceError
from tlc_edge.runtime.images.load import Source, source_name

from .camera import is_video_file, open_live, read_video

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


@dataclass(frozen=True)
class Gap:
    """The frames before and after do not follow each other; `text` says why to the person."""

    text: str


Frames = Generator[Frame | Gap]


def open_frames(where: str, every: float = 0.0) -> Frames:
    """Return the frames of a camera (its number or device), an address, a video file, or a folder of images.

    Of a live camera each frame is the newest there is, at most one in `every` seconds.

    Raises:
        DeviceError: there is no such thing, it cannot be opened, or OpenCV is missing; at once, not later.
    """
    if is_folder(where):
        return new_images(Path(where))
    if is_video_file(where):
        read, order = read_video(where)
        return (Frame(image, order) for image in read)
    return _live(where, every)


def is_folder(where: str) -> bool:
    """Return whether it is a folder, to be watched for new images."""
    return os.path.isdir(where)  # noqa: PTH112 - Path raises for some names


def new_images(folder: Path, poll: float = _POLL) -> Frames:
    """Yield each image that is put into `folder` or changed there from now on, when it is whole, oldest first.

    A file is whole when its size and time stay the same from one look to the next. Hidden files are left out:
    programs write those that are not done yet.
    """
    seen = _look(folder)
    if seen is None:
        raise DeviceError(
            f"{source_name(folder)}: cannot be read; give a folder, a camera's number, a file or an address"
        )
    return _watch_folder(folder, seen, poll)


def _watch_folder(folder: Path, seen: dict[str, _Stamp], poll: float) -> Frames:
    growing: dict[str, _Stamp] = {}
    gone = False
    while True:
        start = time.monotonic()
        found = _look(folder)
        took = time.monotonic() - start
        if found is None:
            if not gone:
                yield Gap(f"{folder}: gone; waiting for it")
            gone = True
        else:
            if gone:
                yield Gap(f"{folder}: back")
            gone = False
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
        time.sleep(max(poll, 10 * took))


def _look(folder: Path) -> dict[str, _Stamp] | None:
    """Return time and size of every file that is not hidden; None where the folder cannot be read."""
    found: dict[str, _Stamp] = {}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                try:
                    if not entry.name.startswith(".") and entry.is_file():
                        status = entry.stat()
                        found[entry.name] = (status.st_mtime_ns, status.st_size)
                except OSError:
                    continue  # gone between the two
    except (OSError, ValueError):
        return None
    return found


def _live(where: str, every: float) -> Frames:
    stream = open_live(where)  # at once: a mistake in `where` is told before anything runs
    return _follow(stream, every)


def _follow(stream: Generator[tuple[Source, str] | str], every: float) -> Frames:
    due = time.monotonic()
    for item in stream:
        if isinstance(item, str):
            yield Gap(item)
        elif time.monotonic() >= due:
            due = time.monotonic() + every
            yield Frame(item[0], item[1])
