"""Teaching from where pictures come from: some frames of a camera, a video or a folder, spread over time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime

from tlc_edge.runtime.classifier import Classifier
from tlc_edge.runtime.errors import DeviceError, ImageError
from tlc_edge.runtime.gallery.records import BaseCheck, Change
from tlc_edge.runtime.labels import clean_label

from .distinct import Distinct
from .frames import Frame, Gap

_LOOKS = 10
"""Frames that are looked at, for each that is to be enrolled: where nothing changes any more, it ends."""


class Stopped(KeyboardInterrupt):
    """Ctrl-C, after `change` was enrolled; it stays."""

    def __init__(self, change: Change) -> None:
        super().__init__()
        self.change = change


def enroll_frames(
    classifier: Classifier,
    label: str,
    frames: Iterable[Frame | Gap],
    count: int,
    *,
    every: float = 0.0,
    name: str = "camera",
    thumbnails: bool = True,
    note: Callable[[str], None] = lambda _: None,
    enrolled: Callable[[str, Change], None] = lambda _name, _change: None,
) -> Change:
    """Enroll up to `count` frames as `label`, each on disk before the next; return all of it as one change.

    Frames that repeat one taken before are left out, and at most ten times `count` are looked at.

    Args:
        classifier: what learns.
        label: the class, new or known.
        frames: as `open_frames` gives them.
        count: how many to enroll.
        every: of a video, seconds between two frames at least; a live camera's frames come so already.
        name: what the frames are called, with their time, where they are no files.
        thumbnails: whether to keep small pictures of them.
        note: is told of gaps, of images that cannot be read, and of what is left out.
        enrolled: is told of each example, once it is on disk: its name and what it changed.

    Raises:
        DeviceError: the frames ended, or repeated themselves, before one was enrolled.
        UsageError, GalleryError: as `Classifier.enroll`.
        Stopped: Ctrl-C came after the first was enrolled.
    """
    clean_label(label)  # before anyone poses for a camera
    done: list[Change] = []
    distinct = Distinct(classifier)
    before = classifier.taken_from_base()[1]
    looked = same = added = 0
    try:
        for frame in _spread(frames, every, note):
            try:
                new = distinct.take(frame.image, frame.order)
                looked += 1
                if new:
                    called = frame.name or f"{name} {_time(frame)}"
                    change = classifier.enroll(
                        label, frame.image, order=frame.order, name=called, thumbnails=thumbnails
                    )
                    done.append(change)
                    added += change.added
                    enrolled(called, change)
                elif not same:
                    note("nothing new to see; move it, turn it, or change the light")
                same = 0 if new else same + 1
            except ImageError as e:
                note(str(e))
            if added == count or looked >= _LOOKS * count:
                break
    except KeyboardInterrupt:
        if not done:
            raise
        raise Stopped(_together(done, None)) from None
    if not done:
        raise DeviceError(f"{name}: no frame that can be enrolled; check that it shows something")
    if looked > len(done):
        note(f"{looked - len(done)} of {looked} frames left out, which repeat others")
    exemplars, after = classifier.taken_from_base()
    return _together(done, BaseCheck(exemplars, before, after))


def in_video(seconds: float) -> str:
    """Return a time in a video for people, `0:00:02.300`."""
    minutes, rest = divmod(round(seconds, 3), 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02}:{rest:06.3f}"


def _spread(frames: Iterable[Frame | Gap], every: float, note: Callable[[str], None]) -> Iterator[Frame]:
    due = 0.0
    for frame in frames:
        if isinstance(frame, Gap):
            note(frame.text)
        elif frame.seconds is None:
            yield frame
        elif frame.seconds >= due - 1e-6:  # a video's times are rounded
            due = frame.seconds + every
            yield frame


def _time(frame: Frame) -> str:
    if frame.seconds is not None:
        return in_video(frame.seconds)
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _together(changes: list[Change], base: BaseCheck | None) -> Change:
    """Return as one what several enrolments of one class did."""
    return replace(
        changes[-1],
        added=sum(c.added for c in changes),
        skipped=sum(c.skipped for c in changes),
        gone=sum(c.gone for c in changes),
        warnings=tuple(w for c in changes for w in c.warnings),
        base=base,
    )
