"""Make a gallery's file as small as what is in it."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from tlc_edge.runtime.errors import GalleryError

from .gallery import Gallery


@dataclass(frozen=True)
class Compaction:
    """Size of the file before and after, with its log, in bytes."""

    before: int
    after: int


def compact(gallery: Gallery) -> Compaction:
    """Drop the undo history and give the freed space back; what can be undone no more is gone for good.

    Killed at any instant, the file holds the same examples, with or without its history. Needs free
    space of the file's own size while it runs.

    Raises:
        GalleryError: the file cannot be written, or another process has it open for long.
    """
    before = _bytes(gallery)
    drop_history(gallery)
    with gallery.idle() as db:
        try:
            db.execute("VACUUM")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.OperationalError as e:
            raise GalleryError(
                f"{gallery.path}: the history is dropped, but the file cannot be made smaller ({e}); "
                "free as much space as it takes, and compact again"
            ) from e
    return Compaction(before, _bytes(gallery))


def drop_history(gallery: Gallery) -> None:
    """Delete every example that is not live and every operation; nothing can be undone then.

    Raises:
        GalleryError: the file cannot be written, and is unchanged.
    """
    with gallery.writing() as db:
        operation, _ = gallery.operation("compact", "", rewrites=True)
        db.execute("DELETE FROM examples WHERE removed_by IS NOT NULL")
        db.execute("DELETE FROM relabelled")
        db.execute("UPDATE examples SET added_by = ?", (operation,))
        db.execute("DELETE FROM operations WHERE id <> ?", (operation,))
        db.execute("UPDATE operations SET undone = 1 WHERE id = ?", (operation,))


def _bytes(gallery: Gallery) -> int:
    beside = (gallery.path, gallery.path.with_name(gallery.path.name + "-wal"))
    return sum(p.stat().st_size for p in beside if p.exists())
