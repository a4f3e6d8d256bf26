"""Name, time and watch over the steps of a build."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator

from tlc_edge.runtime.errors import BuildError, TlcError, first_line

Progress = Callable[[str, int, int], None]
"""Called with a step's name, the units done and the units in all."""


def no_progress(_step: str, _done: int, _total: int) -> None:
    """Report to no one."""


class Steps:
    """The steps that ran, with their seconds. Each is a `with` block, so that a failure knows where it was."""

    def __init__(self, progress: Progress) -> None:
        self.seconds: dict[str, float] = {}
        self._progress = progress

    @contextlib.contextmanager
    def __call__(self, name: str) -> Generator[Callable[[int, int], None]]:
        """Run a block as the step `name`; yields its progress function.

        Raises:
            TlcError: what the block raised, with a note that names the step and those before it.
            BuildError: in place of any other exception of a library, which stays its cause.
        """
        start = time.perf_counter()
        self._progress(name, 0, 0)
        where = f"in step {name!r}" + (f", after {', '.join(self.seconds)}" if self.seconds else "")
        try:
            yield lambda done, total: self._progress(name, done, total)
        except TlcError as e:
            e.add_note(where)
            e.step, e.after = name, tuple(self.seconds)
            raise
        except MemoryError:
            raise BuildError(f"out of memory {where}; use fewer images (--limit)") from None
        except Exception as e:
            reason = first_line(e, silent="")[:300]
            error = BuildError(
                f"{type(e).__name__}: {reason}; this is a defect of tlc or of a library: please report it"
            )
            error.add_note(where)
            error.step, error.after = name, tuple(self.seconds)
            raise error from e
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
