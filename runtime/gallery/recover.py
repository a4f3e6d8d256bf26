"""Save what can be read of a damaged gallery to a new file; the damaged one is never written to.

First SQLite reads what it can still reach, on a copy, one example at a time where it has to. Where that
fails the file's pages are searched one by one for examples: the format of SQLite's table pages is fixed
(sqlite.org/fileformat2.html), and every example carries a check sum that tells it from rubbish.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import sqlite3
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tlc_edge.runtime.errors import GalleryError, UsageError
from tlc_edge.runtime.labels import clean_label

from .file import SQLITE_ERRORS, bound_steps, defend, roll_back
from .limits import Limits, read_limits
from .merging import images_of
from .packed import is_count, is_sound, is_thumbnail
from .pages import carved_examples, carved_thumbnails
from .receiver import StoredExample
from .records import WIDEST
from .transfer import new_file, take_in

_STEP = 64
_LEAST_ROW = 100  # bytes that an example takes
_UNREADABLE = (*SQLITE_ERRORS, TypeError, ValueError, LookupError)
_COLUMNS = "e.id, label, vector, scale, source_sha256, source_name, at"


@dataclass(frozen=True)
class Recovery:
    """What was saved."""

    path: Path
    saved: int
    loose: int
    """Of these, found only by searching pages: forgotten examples may be among them."""
    without_thumbnail: int
    """Saved examples whose thumbnail is damaged or never was."""
    unreadable: int
    """Examples that are known to have been there and could not be read."""
    classes: dict[str, int]


def recover(path: Path, out: Path, fingerprint: str, width: int) -> Recovery:
    """Save the readable examples of the gallery `path` to the new gallery `out`.

    `fingerprint` and `width` are used where the file has lost its own.

    Raises:
        GalleryError: there is no such file, `out` exists, or nothing can be read.
    """
    if not path.is_file():
        raise GalleryError(f"{path}: no such gallery")
    if out.exists():
        raise GalleryError(f"{out}: exists already; choose another name or move it away")
    try:
        with tempfile.TemporaryDirectory(prefix="tlc-", dir=out.parent) as folder:
            copy = Path(folder) / "copy"
            for suffix in ("", "-wal"):
                source = path.with_name(path.name + suffix)
                if source.exists():
                    shutil.copyfile(source, copy.with_name(copy.name + suffix))
            return _save(_read(copy, fingerprint, width), path, out)
    except OSError as e:
        raise GalleryError(f"{out}: cannot be written ({e.strerror or e})") from None


@dataclass
class _Found:
    fingerprint: str
    width: int
    examples: dict[int, StoredExample]
    missing: set[int]
    loose: set[int]
    size: int
    """Of the file and its log, in bytes."""
    limits: Limits | None = None
    """None where they cannot be read."""


def _read(copy: Path, fingerprint: str, width: int) -> _Found:
    log = copy.with_name(copy.name + "-wal")
    size = copy.stat().st_size + (log.stat().st_size if log.exists() else 0)
    found = _Found(fingerprint, width, {}, set(), set(), size)
    whole = False
    try:
        with contextlib.closing(sqlite3.connect(copy, isolation_level=None)) as db:
            db.text_factory = lambda raw: raw.decode("utf-8", "replace")
            db.execute("PRAGMA cell_size_check = ON")
            db.execute("PRAGMA trusted_schema = OFF")
            defend(db)
            bound_steps(db, copy)
            whole = _reach(db, found)
            roll_back(db)
            with contextlib.suppress(*SQLITE_ERRORS):
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except SQLITE_ERRORS:
        pass
    if not whole:
        _search_pages(copy, found)
    return found


def _reach(db: sqlite3.Connection, found: _Found) -> bool:
    """Read what SQLite can reach; return whether that was all there is."""
    with contextlib.suppress(*_UNREADABLE):
        meta = dict(db.execute("SELECT key, value FROM meta"))
        own, width = str(meta["fingerprint"]), int(meta["width"])
        if re.fullmatch("[0-9a-f]{64}", own) and 1 <= width <= WIDEST:
            found.fingerprint, found.width = own, width
    with contextlib.suppress(*_UNREADABLE):
        limits = read_limits(db)
        found.limits = limits if min(limits.per_class, limits.total) >= 0 else None
    labels = _labels_of_index(db)
    whole, rows = _rows(db, found.size)
    for part in rows:
        for *values, stands_for, crc in part:
            example = (*values, stands_for if is_count(stands_for) else 1, None)
            if is_sound(example, found.width, crc, None):
                label = labels.get(values[0], values[1])
                found.examples[values[0]] = StoredExample._make((*example, ()))._replace(label=label)
            else:
                found.missing.add(values[0])
    found.missing |= set(labels) - set(found.examples)
    for number, example in found.examples.items():
        with contextlib.suppress(*_UNREADABLE):
            if example.stands_for > 1:
                found.examples[number] = example = example._replace(images=images_of(db, number))
        with contextlib.suppress(*_UNREADABLE):
            row = db.execute("SELECT jpeg, crc FROM thumbnails WHERE example = ?", (number,)).fetchone()
            if row is not None and is_thumbnail(row[0], row[1]):
                found.examples[number] = example._replace(thumbnail=row[0])
    return whole and not found.missing and bool(found.examples)


def _rows(db: sqlite3.Connection, size: int) -> tuple[bool, list[list[Any]]]:
    """Return the live rows that can be read, in parts, and whether these are all."""
    kind = None
    with contextlib.suppress(*_UNREADABLE):
        kind = db.execute("SELECT type FROM sqlite_master WHERE name = 'examples'").fetchone()[0]
    if kind != "table":  # a view in its place may have rows without end
        return False, []
    stands_for = "1"
    with contextlib.suppress(*_UNREADABLE):
        columns = {str(row[1]) for row in db.execute("PRAGMA table_info(examples)")}
        stands_for = "stands_for" if "stands_for" in columns else "1"  # not in the first version
    with contextlib.suppress(*_UNREADABLE):
        return True, [_live(db, 1, 1 << 62, stands_for)]
    # A number that is damaged may be of any size: beyond what the file has room for, its pages are searched.
    last, most = 0, size // _LEAST_ROW + _STEP
    for query in (
        "SELECT max(id) FROM examples",
        "SELECT max(example) FROM thumbnails",
        "SELECT seq FROM sqlite_sequence WHERE name = 'examples'",
    ):
        with contextlib.suppress(*_UNREADABLE):
            last = max(last, int(db.execute(query).fetchone()[0] or 0))
    parts: list[list[Any]] = []
    for start in range(1, min(last, most) + 1, _STEP):
        try:
            parts.append(_live(db, start, start + _STEP - 1, stands_for))
        except SQLITE_ERRORS:
            for number in range(start, start + _STEP):
                with contextlib.suppress(*SQLITE_ERRORS):
                    parts.append(_live(db, number, number, stands_for))
    return False, parts


def _live(db: sqlite3.Connection, first: int, last: int, stands_for: str) -> list[Any]:
    return db.execute(
        f"SELECT {_COLUMNS}, {stands_for}, crc FROM examples AS e WHERE id BETWEEN ? AND ? AND removed_by IS NULL",
        (first, last),
    ).fetchall()


def _labels_of_index(db: sqlite3.Connection) -> dict[int, str]:
    """Return the labels as the index has them: a second copy, for the check sum does not cover the label."""
    found: dict[int, str] = {}
    counts: dict[str, int] = {}
    with contextlib.suppress(*_UNREADABLE):
        query = "SELECT id, label FROM examples INDEXED BY examples_live WHERE removed_by IS NULL"
        for number, label in db.execute(query):
            found[number] = label
            counts[label] = counts.get(label, 0) + 1
    # A label that no other example has may be the damaged copy; the table's own is then as good.
    return {number: label for number, label in found.items() if counts[label] > 1}


def _search_pages(copy: Path, found: _Found) -> None:
    data = copy.read_bytes()
    thumbnails = dict(carved_thumbnails(data))
    for values, crc, removed, stands_for in carved_examples(data):
        number = values[0]
        whole = (*values, stands_for if is_count(stands_for) else 1)
        if removed or number in found.examples or not is_sound((*whole, None), found.width, crc, None):
            continue
        found.examples[number] = StoredExample._make((*whole, thumbnails.get(number), ()))
        found.loose.add(number)
    for number, example in found.examples.items():
        if example.thumbnail is None and number in thumbnails:
            found.examples[number] = example._replace(thumbnail=thumbnails[number])


def _named(example: StoredExample) -> StoredExample:
    """Return the example under a label that can be one: the check sum does not cover it."""
    try:
        return example._replace(label=clean_label(example.label))
    except UsageError:
        return example._replace(label="recovered")


def _save(found: _Found, path: Path, out: Path) -> Recovery:
    if not found.examples:
        raise GalleryError(f"{path}: no example can be read any more; nothing was written")

    examples = [found.examples[number] for number in sorted(found.examples)]
    with new_file(out, found.fingerprint, found.width, found.limits) as new:
        change = take_in(new, map(_named, examples), "recover", path.name, "both").change
    return Recovery(
        out,
        saved=change.added,
        loose=len(found.loose),
        without_thumbnail=sum(e.thumbnail is None for e in found.examples.values()),
        unreadable=len(found.missing - set(found.examples)),
        classes=dict(change.classes),
    )
