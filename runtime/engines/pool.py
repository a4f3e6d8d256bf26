"""One engine for any number of threads: as many copies as may work at once, none of them for two callers."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tlc_edge.runtime.errors import EngineError, first_line
from tlc_edge.runtime.forks import Forks

from .engine import Engine

_LONGEST = 160  # characters of an engine's own words


class EnginePool:
    """Runs images for whoever asks; itself an `Engine`.

    A copy is made only when all others are at work, up to `most`; then callers wait for one. After a fork the child
    makes its own: the threads that the parent's have are not there.
    """

    def __init__(
        self, first: Engine, another: Callable[[], Engine], most: int, file: str, *, shared: bool = False
    ) -> None:
        """Start with one copy; `another` makes more. `file` names the model in errors.

        A copy that is `shared` runs for `most` callers at once, and there is only one.
        """
        self.name, self.version = first.name, first.version
        self.shape, self.widths = first.shape, first.widths
        self._another = another
        self._most = max(1, most)
        self._file = file
        self._shared = shared
        self._made = [first]
        self._free = [first] * (self._most if shared else 1)
        self._more = 0 if shared else self._most - 1
        self._given = threading.Condition()
        _pools.add(self)

    @property
    def copies(self) -> int:
        """How many there are by now."""
        return len(self._made)

    def run(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.float32], ...]:
        """Run one image [H, W, C]; as `Engine.run`, from any thread.

        Raises:
            EngineError: the engine failed, for want of memory or by a fault of the model.
        """
        engine = self._take()
        try:
            return engine.run(image)
        except Exception as e:
            # What the engines raise shares no base; nothing but the engine runs here.
            raise EngineError(self._sentence(e)) from None
        finally:
            with self._given:
                self._free.append(engine)
                self._given.notify()

    def _take(self) -> Engine:
        with self._given:
            while not self._free:
                if self._more:
                    self._more -= 1
                    break
                self._given.wait()
            else:
                return self._free.pop()
        try:
            made = self._another()
        except BaseException as e:
            with self._given:
                if not (self._made and isinstance(e, EngineError | MemoryError)):
                    self._more += 1
                    self._given.notify()
                    raise
            return self._take()  # no room for another: go on with those there are
        with self._given:
            self._made.append(made)
            if self._shared:
                self._free += [made] * (self._most - 1)
                self._given.notify(self._most - 1)
        return made

    def _sentence(self, error: Exception) -> str:
        said = first_line(error)
        said = said if len(said) <= _LONGEST else f"{said[:_LONGEST]}…"
        if isinstance(error, MemoryError) or "alloc" in said or "memory" in said:
            return (
                f"{self.name} has too little memory to run {self._file} ({said}); end other programs, or lift its limit"
            )
        return f"{self.name} failed while it ran {self._file} ({said}); run `tlc selftest`, or try another --engine"

    def hold(self) -> None:
        """Let no copy change hands, before a fork."""
        self._given.acquire()

    def release(self) -> None:
        """Go on."""
        self._given.release()

    def renew(self) -> None:
        """Let go of the parent's copies, in the child of a fork, without touching them."""
        for engine in self._made:
            _abandon(engine)
        self._made, self._free = [], []
        self._more = 1 if self._shared else self._most
        self._given = threading.Condition()  # the old one has threads waiting that are not here
        self._given.acquire()


def _abandon(thing: object) -> None:
    """Keep an object for ever: to be destroyed, an engine would wait for its threads, which are not in this process."""
    import ctypes

    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


def _renew(pools: list[EnginePool]) -> None:
    for pool in pools:
        pool.renew()


_pools: Forks[EnginePool] = Forks(3, EnginePool.hold, EnginePool.release, _renew)
