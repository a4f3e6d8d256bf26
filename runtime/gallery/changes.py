"""What each operation does to the tables, inside one transaction, by its number where it has begun."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tlc_edge.runtime.errors import GalleryError, UsageError

from . import rows
from .limits import Limits, make_room, read_limits, write_limits
from .merging import holder, remove
from .packed import Packed
from .records import KEEP_OPERATIONS, Change

Begin = Callable[..., tuple[int, str]]
"""Begins an operation: of its kind, label, detail and whether it rewrites rows, makes its number and the time."""


def add(
    db: sqlite3.Connection, begin: Begin, name: str, packed: Sequence[Packed], before: Mapping[str, int]
) -> tuple[Change, dict[str, int]]:
    """Add what the class does not hold, there being so many rows before; return also how many each class has then."""
    classes = dict(before)
    fresh: dict[str, Packed] = {}
    gone: dict[str, int] = {}
    operation = 0
    for example in packed:
        sha256 = example.source.sha256
        if sha256 not in fresh and holder(db, name, sha256) is None:
            fresh[sha256] = example
    if fresh:
        classes = dict(sorted({**classes, name: classes.get(name, 0) + len(fresh)}.items()))
        operation, at = begin("add", name)
        for example in fresh.values():
            rows.insert(db, name, example, at, operation)
        gone = make_room(db, classes, operation)
        classes = {c: n - gone.get(c, 0) for c, n in classes.items()}
    change = Change(
        "add",
        name,
        len(fresh),
        0,
        len(packed) - len(fresh),
        dict(classes),
        gone=sum(gone.values()),
        operation=operation,
    )
    return change, classes


def forget(db: sqlite3.Connection, begin: Begin, name: str) -> Change:
    """Remove a class."""
    rows.require(db, name)
    operation, _ = begin("forget", name, rewrites=True)
    removed = db.execute(
        "UPDATE examples SET removed_by = ? WHERE label = ? AND removed_by IS NULL", (operation, name)
    ).rowcount
    return Change("forget", name, 0, removed, 0, rows.counts(db))


def rename(db: sqlite3.Connection, begin: Begin, old: str, new: str, merge: bool) -> Change:
    """Give a class the name `new`, that of another class only with `merge`."""
    rows.require(db, old)
    if old == new:
        raise GalleryError(f"class {old!r} already has this name; give another one")
    there = rows.counts(db).get(new, 0)
    if there and not merge:
        raise GalleryError(
            f"class {new!r} exists already ({there} example{'s' * (there != 1)}); choose another name, or "
            "merge the two (`tlc gallery rename --merge`, merge=True)"
        )
    operation, _ = begin("rename", new, {"from": old}, rewrites=True)
    moved, dropped = rows.relabel(db, operation, old, new)
    gone = make_room(db, rows.counts(db), operation) if there else {}
    return Change("rename", new, moved, 0, dropped, rows.counts(db), gone=sum(gone.values()))


def remove_examples(db: sqlite3.Connection, begin: Begin, ids: Sequence[int]) -> Change:
    """Remove single rows."""
    labels = set(rows.labels_of(db, ids))
    label = labels.pop() if len(labels) == 1 else ""
    operation, _ = begin("remove", label, rewrites=True)
    remove(db, ids, operation)
    return Change("remove", label, 0, len(ids), 0, rows.counts(db))


def move(db: sqlite3.Connection, begin: Begin, ids: Sequence[int], name: str) -> Change:
    """Give single rows to a class."""
    elsewhere = [i for i, held in zip(ids, rows.labels_of(db, ids), strict=True) if held != name]
    if not elsewhere:
        raise GalleryError(f"all of these are in class {name!r} already; give another one")
    operation, _ = begin("move", name, rewrites=True)
    moved = sum(rows.relabel_one(db, operation, i, name) for i in elsewhere)
    gone = make_room(db, rows.counts(db), operation)
    return Change("move", name, moved, 0, len(ids) - moved, rows.counts(db), gone=sum(gone.values()))


def undo(db: sqlite3.Connection, path: object, only: int | None) -> Change:
    """Take back the latest operation that is not yet undone; with `only`, no other."""
    last = rows.last_operation(db)
    if last is None:
        raise GalleryError(f"{path}: nothing to undo in the last {KEEP_OPERATIONS} operations")
    operation, kind, name = last
    if only not in (None, operation):
        raise GalleryError(f"{path}: something else was changed since; `tlc undo` takes back the latest change first")
    gained, removed = rows.take_back(db, operation)
    return Change("undo", name, gained, removed, 0, rows.counts(db), undone=kind)


def limit(db: sqlite3.Connection, begin: Begin, limits: Limits) -> Change:
    """Set the limits, and merge what is above them."""
    before, classes = read_limits(db), rows.counts(db)
    gone: dict[str, int] = {}
    if limits != before or limits.excess(classes):
        # Undoing it, what came back would be merged again otherwise.
        detail: dict[str, Any] = {"limits": [before.per_class, before.total]}
        operation, _ = begin("limit", "", detail, rewrites=True)
        write_limits(db, limits)
        gone = make_room(db, classes, operation)
    return Change("limit", "", 0, 0, 0, rows.counts(db), gone=sum(gone.values()))


def each_once(examples: Sequence[int]) -> list[int]:
    """Return ids, each once, in their order.

    Raises:
        UsageError: there are none.
    """
    if not examples:
        raise UsageError("no examples given; `tlc gallery list BUNDLE LABEL` shows their numbers")
    return list(dict.fromkeys(examples))
