"""How many examples a gallery keeps, per class and in all, and which become one when there are more."""

from __future__ import annotations

import heapq
import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tlc_edge.runtime.vectors import unit_rows

from .merging import join
from .thinning import groups, runs


@dataclass(frozen=True)
class Limits:
    """Bounds on the number of rows, merged ones or not; 0 is none. Every class keeps one whatever the total."""

    per_class: int = 500
    total: int = 20_000

    def excess(self, classes: Mapping[str, int]) -> dict[str, int]:
        """Return how many examples each class has to give up; for the total, the largest classes do."""
        kept = {c: min(n, self.per_class or n) for c, n in classes.items()}
        over = sum(kept.values()) - self.total if self.total else 0
        largest = [(-n, c) for c, n in sorted(kept.items())]
        heapq.heapify(largest)
        while over > 0 and largest and largest[0][0] < -1:
            n, c = heapq.heappop(largest)
            kept[c] -= 1
            over -= 1
            heapq.heappush(largest, (n + 1, c))
        return {c: n - kept[c] for c, n in classes.items() if n > kept[c]}


def read_limits(db: sqlite3.Connection) -> Limits:
    """Return the limits set in this gallery, or the usual ones."""
    usual = Limits()
    found = dict(db.execute("SELECT key, value FROM meta WHERE key IN ('per_class', 'total')"))
    try:
        return Limits(int(found.get("per_class", usual.per_class)), int(found.get("total", usual.total)))
    except ValueError as e:
        raise sqlite3.DatabaseError(f"limits: {e}") from None


def write_limits(db: sqlite3.Connection, limits: Limits) -> None:
    """Set the limits; no example goes yet."""
    values = [("per_class", str(limits.per_class)), ("total", str(limits.total))]
    db.executemany(
        "INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value", values
    )


def make_room(db: sqlite3.Connection, classes: Mapping[str, int], operation: int) -> dict[str, int]:
    """Merge examples, as part of an operation, until the limits hold; return how many fewer each class has."""
    excess = read_limits(db).excess(classes)
    for label, count in excess.items():
        _thin(db, label, count, operation)
    return excess


def take_limits_back(db: sqlite3.Connection, operation: int) -> None:
    """Take back what an operation changed of the limits.

    And, last first, of what examples stand for: before there were merged rows, one gave way to another, which then
    stood for both.
    """
    detail = _detail(db, operation)
    if "limits" in detail:
        write_limits(db, Limits(*map(int, detail["limits"])))
    for row, heir in reversed(detail.get("gone", [])):
        db.execute(
            "UPDATE examples SET stands_for = stands_for - (SELECT stands_for FROM examples WHERE id = ?) WHERE id = ?",
            (row, heir),
        )


def _detail(db: sqlite3.Connection, operation: int) -> dict[str, Any]:
    try:
        found = json.loads(db.execute("SELECT detail FROM operations WHERE id = ?", (operation,)).fetchone()[0])
        return dict(found)
    except (ValueError, TypeError) as e:
        raise sqlite3.DatabaseError(f"operation {operation}: {e}") from None


def _thin(db: sqlite3.Connection, label: str, count: int, operation: int) -> None:
    while count > 0:  # a run keeps one row at least: where fewer than there are runs may stay, there is more to do
        found = db.execute(
            "SELECT id, vector, stands_for FROM examples WHERE label = ? AND removed_by IS NULL ORDER BY id", (label,)
        ).fetchall()
        count = min(count, len(found) - 1)
        for span, share in runs(len(found), count, operation):
            if not share:
                continue
            unit = unit_rows(np.stack([np.frombuffer(row[1], np.int8) for row in found[span]]))
            numbers = [int(row[0]) for row in found[span]]
            for group in groups(unit, [int(row[2]) for row in found[span]], share):
                join(db, label, [numbers[row] for row in group], operation)
                count -= len(group) - 1
