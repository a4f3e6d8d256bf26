"""Objects that a fork must find at rest, and that must be renewed in the child: it has none of the parent's threads."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar
from weakref import WeakSet

T = TypeVar("T")


class Forks(Generic[T]):
    """The living objects of one kind, and what happens to them at a fork of the process.

    Kinds on higher floors are held first: what uses another's objects holds its own before them.
    """

    def __init__(
        self,
        floor: int,
        hold: Callable[[T], object],
        release: Callable[[T], object],
        renew: Callable[[list[T]], object],
    ) -> None:
        """Arrange it.

        Args:
            floor: of the room that has this kind; modules may be loaded in any order.
            hold: called for each object before a fork, by the thread that forks; it waits until the object is at rest.
            release: called for each of these afterwards, in the parent and, last, in the child.
            renew: called in the child with all of them at once.
        """
        self._hold, self._release, self._renew = hold, release, renew
        self._all: WeakSet[T] = WeakSet()
        self._held: list[T] = []
        self._lock = threading.RLock()
        self.floor = floor
        _kinds.append(self)

    def add(self, thing: T) -> None:
        """Take care of an object for as long as it lives."""
        with self._lock:
            self._all.add(thing)

    def before(self) -> None:
        """Hold them all."""
        self._lock.acquire()
        self._held = list(self._all)
        for thing in self._held:
            self._hold(thing)

    def after(self) -> None:
        """Let them go, in the parent."""
        for thing in self._held:
            self._release(thing)
        self._held = []
        self._lock.release()

    def in_child(self) -> None:
        """Renew them, and let them go."""
        try:
            self._renew(self._held)
        finally:
            self.after()


_kinds: list[Forks[Any]] = []
_held: list[Forks[Any]] = []
"""While the process forks: those that are held, the highest first."""
_one = threading.RLock()  # two threads may fork


def _before() -> None:
    _one.acquire()
    # Looked for anew each time: what was held last may have waited for a thread that was loading one on a lower floor.
    while left := [kind for kind in _kinds if kind not in _held]:
        kind = max(left, key=lambda one: one.floor)
        kind.before()
        _held.append(kind)


def _after() -> None:
    while _held:
        _held.pop().after()
    _one.release()


def _in_child() -> None:
    while _held:
        _held.pop().in_child()
    _one.release()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(before=_before, after_in_parent=_after, after_in_child=_in_child)
