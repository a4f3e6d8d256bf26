"""What the gallery takes and gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class BaseCheck:
    """How many exemplars of the base classes would be taken for something that is enrolled."""

    exemplars: int
    """Exemplars tried: those that have another of their class beside them, at most 300 of these."""
    before: int
    """Taken before the enrolment."""
    after: int
    """Taken after it."""


WIDEST = 1 << 20
"""Of an embedding; a number beyond is damage, and not worth the memory it asks for."""
KEEP_OPERATIONS = 50
"""How many operations back `undo` reaches, counting those already undone."""


@dataclass(frozen=True)
class ExampleSource:
    """Where an example comes from: the SHA-256 of its image (64 hex digits), its name, a small JPEG."""

    sha256: str
    name: str
    thumbnail: bytes | None = None


@dataclass(frozen=True)
class Example:
    """One enrolled example, without its vector. `at` is UTC, ISO 8601, and only as right as the clock."""

    id: int
    label: str
    source_name: str
    sha256: str
    at: str
    has_thumbnail: bool
    stands_for: int = 1
    """How many examples it is: more than one where it is a merged row, the mean of them, shown by one of its images."""


@dataclass(frozen=True)
class EnrollWarning:
    """Something that looks wrong about a new example, which was enrolled all the same (a duplicate: left out)."""

    kind: str
    """`duplicate`, `blank`, `blur` or `alike`."""
    image: str
    label: str
    """The class that it is about: for `alike`, the other one."""
    text: str


@dataclass(frozen=True)
class Change:
    """What an operation did to class `label`."""

    kind: str
    """`add`, `forget`, `remove`, `move`, `rename`, `undo`, `limit`, `import`, `merge`, `recover` or `migrate`."""
    label: str
    added: int
    """Examples the class gained: new, renamed to it, or back from an undone operation."""
    removed: int
    """Examples the class lost."""
    skipped: int
    """Examples left out because the class already holds one of the same image."""
    classes: Mapping[str, int]
    """Examples per class after the operation, in sorted order."""
    undone: str = ""
    """For `undo`: the kind of the operation that was undone."""
    gone: int = 0
    """Rows, of whatever class, that there are fewer because examples were merged at a limit."""
    warnings: tuple[EnrollWarning, ...] = ()
    """For `add` through `Classifier.enroll`: what looks wrong about the new examples."""
    turned_away: BaseCheck | None = None
    """For examples of what must not pass, likewise: how many exemplars and enrolled examples would not pass either."""
    base: BaseCheck | None = None
    """For `add` through `Classifier.enroll` with `check_base`: what it costs the base classes."""
    operation: int = 0
    """For `add`: its number in the gallery, by which `undo` can be told to take back no other; 0: nothing was added."""


class Cursor(NamedTuple):
    """How far a reader of a gallery has come."""

    example: int
    """The highest id of an example that it has read."""
    operation: int
    """The latest operation that it knows of."""
    rewrites: int
    """How often earlier rows had changed by then."""


START = Cursor(0, 0, -1)
"""Nothing read yet."""


@dataclass(frozen=True, eq=False)
class GalleryRows:
    """The examples for search, in the order of their ids (that is, of enrolment)."""

    ids: NDArray[np.int64]
    """[N], ascending; never used twice."""
    labels: tuple[str, ...]
    """N names, one per row."""
    vectors: NDArray[np.int8]
    """[N, D]; `vectors * scales[:, None]` gives the embeddings back."""
    scales: NDArray[np.float32]
    """[N]."""
    rewrites: int
    """While it stays the same, rows once read are still right, but for those `removed`."""
    operation: int = 0
    """The latest operation in it."""
    removed: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    """Ids of earlier rows that these took the place of, merged under a limit."""
    stands_for: NDArray[np.int64] | None = None
    """How many examples each row stands for, [N]; None: each for itself."""
    left: int = 0
    """How many more there are after these, where only a portion was asked for."""
    spread: NDArray[np.int8] | None = None
    """[S, D]: with the first of several portions, rows from all over the gallery."""

    def continues(self, cursor: Cursor) -> bool:
        """Return whether these rows lead on from what a reader had there; else it must read all of them again."""
        known = self.operation - cursor.operation <= KEEP_OPERATIONS  # earlier removals may be deleted by now
        return known and self.rewrites == cursor.rewrites and len(self.removed) <= len(self.ids)

    def cursor(self, before: Cursor = START) -> Cursor:
        """Return how far a reader has come that was at `before`, with these rows."""
        return Cursor(int(self.ids[-1]) if len(self.ids) else before.example, self.operation, self.rewrites)
