"""What a file must reach, whatever else it does: an accuracy, and a recall of each class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tlc_edge.runtime.errors import BuildError, UsageError

from .statistics import wilson


@dataclass(frozen=True)
class ClassRecall:
    """How many images of a class were answered with it."""

    label: str
    right: int
    images: int
    interval: tuple[float, float]
    """95 %, of the share."""


@dataclass(frozen=True)
class Demands:
    """What is demanded, in shares from 0 to 1; None demands nothing."""

    min_accuracy: float | None = None
    min_class_recall: float | None = None
    sure: bool = False
    """Judge by the lower end of the 95 % interval, in place of what was counted."""

    def check(self) -> None:
        """Check the numbers.

        Raises:
            UsageError: one is no share, or `sure` stands alone.
        """
        for name, value in (("min-accuracy", self.min_accuracy), ("min-class-recall", self.min_class_recall)):
            if value is not None and not 0 <= value <= 1:  # not a number fails this too
                raise UsageError(f"{name} is {value}, expected a share from 0 to 1, such as 0.9")
        if self.sure and self.min_accuracy is None and self.min_class_recall is None:
            raise UsageError("--sure says how --min-accuracy and --min-class-recall are judged; give one of them")

    def misses(self, file: str, right: int, images: int, classes: Sequence[ClassRecall]) -> list[str]:
        """Return what a file does not reach, a sentence each; a class without images has nothing to reach."""
        found: list[str] = []
        said = self._missed(right, images, self.min_accuracy)
        if said:
            found.append(f"{file}: accuracy {said}")
        for one in classes:
            said = self._missed(one.right, one.images, self.min_class_recall) if one.images else None
            if said:
                found.append(f"{file}: recall of {one.label} {said}")
        return found

    def _missed(self, right: int, images: int, least: float | None) -> str | None:
        if least is None:
            return None
        share, (low, high) = right / images if images else 0.0, wilson(right, images)
        if (low if self.sure else share) >= least:
            return None
        by = f", of which {low:.3f} is sure" if self.sure else ""
        return f"is {share:.3f} ({right} of {images}; {low:.3f} to {high:.3f}){by}, expected at least {least:g}"


def recalls(answers: NDArray[np.int64], truth: NDArray[np.int64], labels: Sequence[str]) -> tuple[ClassRecall, ...]:
    """Return how many images of each class were answered with it; both are class indices, [N]."""
    counted = [(int((answers[truth == i] == i).sum()), int((truth == i).sum())) for i in range(len(labels))]
    return tuple(ClassRecall(label, *of, wilson(*of)) for label, of in zip(labels, counted, strict=True))


def refuse(missed: Sequence[str], *, built: bool) -> BuildError:
    """Return the error for what was not reached; of a build nothing is written."""
    more = f"; and {len(missed) - 1} more: {'; '.join(missed[1:6])}" if len(missed) > 1 else ""
    nothing = "nothing is written; " if built else ""
    return BuildError(f"{missed[0]}{more}; {nothing}add images of what it gets wrong, or ask for less")
