"""A bank that follows a gallery: it reads what is new in it, and all of it again only where it must."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .bank import Bank

if TYPE_CHECKING:
    from tlc_edge.runtime.gallery.gallery import Gallery
    from tlc_edge.runtime.gallery.records import Cursor

_PORTION = 65_536  # rows that are in memory twice while they are read


class FollowingBank:
    """A bundle's exemplars and what is enrolled, whoever enrolled it: this process or another."""

    def __init__(self, bank: Bank) -> None:
        """Start with a bank of what a bundle brings, which no one else changes."""
        self.bank = bank
        self._gallery: Gallery | None = None
        self._file: tuple[int, ...] = ()
        self._version: tuple[int, int] | None = None
        self._cursor: Cursor | None = None

    def is_current(self, gallery: Gallery | None) -> bool:
        """Return whether following it now would change nothing; cheap enough to ask each frame.

        Raises:
            GalleryError: the gallery cannot be read.
        """
        if gallery is None or gallery is not self._gallery:
            return gallery is None and not self._file
        return gallery.file == self._file and gallery.data_version() == self._version

    def follow(self, gallery: Gallery | None) -> bool:
        """Bring the bank up to date with an open gallery, None where there is none; return whether anything changed.

        The same gallery may come in another object, opened anew.

        Raises:
            GalleryError: the gallery cannot be read; the bank holds what it held, or only the exemplars.
        """
        file = () if gallery is None else gallery.file
        replaced = file != self._file
        if replaced:
            self._start_over(file)
        if gallery is not self._gallery:
            self._gallery, self._version = gallery, None
        if gallery is None:
            return replaced
        version = gallery.data_version()
        if version == self._version:
            return replaced
        from tlc_edge.runtime.gallery.records import START  # there, as a gallery is

        left = True
        while left:
            rows = gallery.rows_since(self._cursor or START, _PORTION)
            if self._cursor is not None and not (rows.continues(self._cursor) and self.bank.can_take(rows)):
                # Something earlier was removed, restored or renamed: read it all again.
                self._start_over(file)
                rows = gallery.rows_since(START, _PORTION)
            self.bank.append(rows)
            self._cursor, left = rows.cursor(self._cursor or START), rows.left > 0
        self._version = version
        return True

    def leave(self) -> None:
        """Let go of rows that lie in files, in the child of a fork: the parent writes to them. They are read anew."""
        if self.bank.is_on_disk:
            self._start_over(())
            self._gallery = None

    def _start_over(self, file: tuple[int, ...]) -> None:
        self.bank.clear()
        self._file, self._version, self._cursor = file, None, None
