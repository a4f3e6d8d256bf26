"""One label out of many frames: the one that has more than two thirds of the latest, until another has.

A single frame that is blurred or half in the picture changes nothing. More than half would not do: of two
labels that take turns each has that in an odd window, every other frame. Where none has two thirds, the
label announced before stays. Where the frames end before the first window is full, those count that there were.
"""

from __future__ import annotations

from collections import Counter, deque

from tlc_edge.runtime.errors import UsageError

MOST = 10_000


def usual_window(folder: bool = False) -> int:
    """Return over how many answers to smooth; a folder's images need not follow each other, so each stands alone."""
    return 1 if folder else 5


class Steady:
    """Smooths the answers for frames in a row; memory is that of the window."""

    def __init__(self, window: int) -> None:
        """Take `window` answers into account; 1 passes every change on.

        Raises:
            UsageError: `window` is not from 1 to MOST.
        """
        if not 1 <= window <= MOST:
            raise UsageError(f"smoothing over {window} frames, expected 1 to {MOST}")
        self.window = window
        self.announced = False
        self.label: str | None = None
        """The answer that stands; None for unknown, and before the first one."""
        self._latest: deque[str | None] = deque()
        self._count: Counter[str | None] = Counter()

    def see(self, label: str | None) -> bool:
        """Take the answer for one more frame, None for unknown; return whether the label that stands changed."""
        self._latest.append(label)
        self._count[label] += 1
        if len(self._latest) > self.window:
            oldest = self._latest.popleft()
            self._count[oldest] -= 1
            if not self._count[oldest]:
                del self._count[oldest]
        if 3 * self._count[label] <= 2 * self.window or (self.announced and label == self.label):
            return False
        self.announced, self.label = True, label
        return True

    def end(self) -> bool:
        """Say that no frame follows; return whether that made a label stand.

        It does where none stands yet and the frames were fewer than the window: then two thirds of them do.
        """
        seen = len(self._latest)
        if self.announced or seen >= self.window:
            return False
        for label, count in self._count.items():
            if 3 * count > 2 * seen:
                self.announced, self.label = True, label
        return self.announced

    def clear(self) -> None:
        """Forget the frames so far, as after a gap; the label that stands stays until another has its share."""
        self._latest.clear()
        self._count.clear()
