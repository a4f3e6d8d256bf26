"""What a device knows: a bundle's exemplars and its gallery, kept up to date, for any number of threads.

Two connections: one follows the gallery, one changes it, so that no prediction waits for an enrolment to reach the
disk. A lock of readers and writers guards the bank: predictions search it side by side, and wait only while new rows
are taken in.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Generator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from tlc_edge.runtime.bundle.bundle import Bundle
from tlc_edge.runtime.errors import GalleryError, TlcError
from tlc_edge.runtime.forks import Forks

from .bank import Bank
from .following import FollowingBank
from .prediction import Basis, basis
from .sharing import Sharing
from .unknown import read_knownness

if TYPE_CHECKING:
    from tlc_edge.runtime.gallery.gallery import Gallery


class Taught:
    """The stored examples of a bundle and of the gallery at `path`, which need not exist yet."""

    def __init__(self, bundle: Bundle, path: Path, rate: float) -> None:
        """Start with the bundle's own; `rate` of false alarms, 0 to 1."""
        self._manifest = bundle.manifest
        self._path = path
        self._rate = rate
        self._knownness = read_knownness(bundle)
        known = self._knownness
        self._enrolled = FollowingBank(Bank(bundle.exemplars(), self._manifest.labels, known.shift, known.unwanted))
        self.basis = self._weigh()
        """What answers are based on; read it through `up_to_date`."""
        self._followed: Gallery | None = None
        self._changed: Gallery | None = None
        self._following = threading.RLock()
        self._changing = threading.RLock()
        self._sharing = Sharing()
        self.loading = self._following
        """To load modules in: a fork waits for it, as what is half loaded then would never be whole in the child."""
        _all.add(self)

    def up_to_date(self) -> _UpToDate:
        """Return a context of what answers are based on, which nobody changes meanwhile.

        It is up to date at its beginning, whoever taught it: this process or another.

        Raises:
            FingerprintError, GalleryError: the gallery cannot be used.
        """
        self.follow()
        return _UpToDate(self, self._sharing)

    def follow(self) -> None:
        """Bring what answers are based on up to date; cheap enough to ask each frame.

        Raises:
            FingerprintError, GalleryError: the gallery cannot be used.
        """
        with self._following:
            try:
                self._follow()
            except GalleryError:
                if self._followed is None or not self._followed.was_removed():
                    raise
                self._followed.close()  # a damaged one that was moved away, as it is told to
                self._followed = None
                self._follow()

    def read(self) -> Gallery | None:
        """Return the gallery opened for reading, None where there is none.

        Raises:
            FingerprintError, GalleryError: it cannot be used.
        """
        with self._following:
            return self._attached()

    def _follow(self) -> None:
        gallery = self._attached()
        if self._enrolled.is_current(gallery):
            return
        with self._sharing.writing:
            try:
                changed = self._enrolled.follow(gallery)
            except BaseException:
                self.basis = self._weigh()  # what is left is the exemplars, or what was
                raise
            if changed:
                self.basis = self._weigh()

    @contextlib.contextmanager
    def changing(self, nothing: TlcError | None = None) -> Generator[Gallery]:
        """Yield the gallery opened for writing, to one thread at a time; if there is none, make it or raise `nothing`.

        Raises:
            FingerprintError, GalleryError: it cannot be used, or not be written.
        """
        with self._changing:
            if self._changed is not None and (self._changed.was_replaced() or self._changed.was_removed()):
                self._changed.close()
                self._changed = None
            if self._changed is None:
                if nothing is not None and ((held := self.read()) is None or held.was_removed()):
                    raise nothing
                with self.loading:
                    from tlc_edge.runtime.gallery.gallery import Gallery
                of = self._manifest
                self._changed = Gallery.open(self._path, of.fingerprint, of.embedding_width, create=True)
            yield self._changed

    def close(self) -> None:
        """Close the gallery. What is asked next opens it again."""
        with self._changing, self._following:
            for gallery in (self._followed, self._changed):  # the writer last: it leaves one file
                if gallery is not None:
                    gallery.close()
            self._followed = self._changed = None

    def _attached(self) -> Gallery | None:
        if self._followed is not None and self._followed.was_replaced():
            self._followed.close()  # the connection would go on reading a file that has no name any more
            self._followed = None
        # Path.exists raises for a name that is too long, where there can be no gallery.
        if self._followed is None and os.path.exists(self._path):  # noqa: PTH110
            from tlc_edge.runtime.gallery.gallery import Gallery  # SQLite, which a device without a gallery can spare

            of = self._manifest
            self._followed = Gallery.open_if_exists(self._path, of.fingerprint, of.embedding_width, read_only=True)
        return self._followed

    def _weigh(self) -> Basis:
        return basis(self._enrolled.bank, self._manifest.decision, self._knownness, self._rate)

    def hold(self) -> None:
        """Let nobody change the bank, before a fork."""
        self._following.acquire()

    def release(self) -> None:
        """Go on."""
        self._following.release()

    def renew(self) -> None:
        """Forget the threads that are not here, in the child of a fork."""
        self._sharing = Sharing()
        self._changing = threading.RLock()
        self._enrolled.leave()


# A class and not a generator: every frame passes through it.
class _UpToDate:
    __slots__ = ("_of", "_sharing")

    def __init__(self, of: Taught, sharing: Sharing) -> None:
        self._of, self._sharing = of, sharing

    def __enter__(self) -> Basis:
        self._sharing.begin_reading()
        return self._of.basis

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sharing.end_reading()


def _renew(taught: list[Taught]) -> None:
    for one in taught:
        one.renew()


_all: Forks[Taught] = Forks(6, Taught.hold, Taught.release, _renew)
