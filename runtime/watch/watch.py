"""Watching: frames in, an event out whenever the label changes."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tlc_edge.runtime.classifier import Classifier
from tlc_edge.runtime.errors import ImageError
from tlc_edge.runtime.knn.prediction import Prediction

from .frames import Frame, Gap
from .steady import Steady

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Event:
    """The label changed."""

    time: str
    """UTC, ISO 8601."""
    frame: int
    """Number of the frame that tipped it, from 1; of the latest one with that label where the end of the frames did."""
    prediction: Prediction
    """For that frame."""
    was: str | None
    """The label before, `unknown`, or None for the first one."""
    name: str | None
    """The frame's file, where it is one."""
    seconds: float | None = None
    """The frame's time in the video, where it is of one."""
    seen: Frame | None = None
    """The frame itself."""

    def document(self) -> dict[str, Any]:
        """Return the event as JSON values."""
        p = self.prediction
        return {
            "time": self.time,
            "label": p.label,
            "score": round(p.score, 6),
            "source": p.source,
            "unknown": p.unknown,
            "was": self.was,
            "frame": self.frame,
            "image": self.name,
            "seconds": None if self.seconds is None else round(self.seconds, 3),
        }


def watch(
    classifier: Classifier,
    frames: Iterable[Frame | Gap],
    steady: Steady,
    note: Callable[[str], None],
    looked: Callable[[Frame, Prediction], None] = lambda _frame, _prediction: None,
) -> Generator[Event]:
    """Predict every frame and yield an event when `steady` says that the label changed.

    `note` is told of gaps and of images that cannot be read; both are survived. Where the frames end before any
    label has its share, those that there were decide, or `note` is told that they do not agree. `looked` is called
    after every frame, with its answer, before its event.
    """
    count = 0
    latest: dict[str | None, Event] = {}  # by label, until there is one that stands
    for frame in frames:
        if isinstance(frame, Gap):
            steady.clear()
            note(frame.text)
            continue
        try:
            prediction = classifier.predict(frame.image, frame.order)
        except ImageError as e:
            note(str(e))
            continue
        count += 1
        looked(frame, prediction)
        label = None if prediction.unknown else prediction.label
        was = (UNKNOWN if steady.label is None else steady.label) if steady.announced else None
        if steady.see(label):
            latest.clear()
            yield Event(_now(), count, prediction, was, frame.name, frame.seconds, frame)
        elif not steady.announced:
            latest[label] = Event(_now(), count, prediction, was, frame.name, frame.seconds, frame)
    if steady.end():
        yield latest[steady.label]
    elif count and not steady.announced:
        note(f"no answer had more than two thirds of {_in_a_row(count, steady.window)}; --smooth 1 tells every change")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _in_a_row(count: int, window: int) -> str:
    return f"the {count} frames" if count <= window else f"{window} frames in a row"
