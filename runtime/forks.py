"""Objects that a fork must find at rest, and that must be renewed in the child: it has none of the parent's threads."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Generic, TypeVar
from weakref import WeakSet

T = TypeVar("T")


class Forks(Generic[T]):
    """The living objects of one kind, and what happens to them at a fork of the process.

    Kinds that are made first are held last, so a module that uses another's objects holds its own before them.
    """

    def __init__(
        self, hold: Callable[[T], object], release: Callable[[T], object], renew: Callable[[list[T]], object]
    ) -> None:
        """Arrange it.

        Args:
            hold: called for each object before a fork, by the thread that forks; it waits until the object is at rest.
            release: called for each of these afterwards, in the parent and, last, in the child.
            renew: called in the child with all of them at once.
        """
        self._hold, self._release, self._renew = hold, release, renew
        self._all: WeakSet[T] = WeakSet()
        self._held: list[T] = []
        self._lock = threading.RLock()
        if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
            os.register_at_fork(before=self._before, after_in_parent=self._after, after_in_child=self._in_child)

    def add(self, thing: T) -> None:
        """Take care of an object for as long as it lives."""
        with self._lock:
            self._all.add(thing)

    def _before(self) -> None:
        self._lock.acquire()
        self._held = list(self._all)
        for thing in self._held:
            self._hold(thing)

    def _after(self) -> None:
        for thing in self._held:
            self._release(thing)
        self._held = []
        self._lock.release()

    def _in_child(self) -> None:
        try:
            self._renew(self._held)
        finally:
            self._after()
