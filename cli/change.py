"""What the commands print that change what is enrolled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .output import put, put_json, say

if TYPE_CHECKING:
    from tlc_edge.runtime.gallery.records import Change


_NAMES = {"add": "enroll"}
"""Kinds of operations whose command has another name."""
_UNDONE = {
    "rename": "{} has its old name again",
    "limit": "the limit is as it was, and what was merged is apart again",
}
"""What is said of taking back what neither adds nor removes."""


def print_change(change: Change, as_json: bool, added: bool, warned: bool = False) -> None:
    """Print one operation on the gallery; `added` says which of the two counts is its point.

    Its warnings too, unless the person was `warned` already.
    """
    direction, count = ("added", change.added) if added else ("removed", change.removed)
    for warning in () if warned else change.warnings:
        say(f"Warning: {warning.image} {warning.text}")
    if as_json:
        put_json(
            {
                "label": change.label,
                **({"added": change.added, "removed": change.removed} if change.undone else {direction: count}),
                "classes": dict(change.classes),
                "kind": change.kind,
                "skipped": change.skipped,
                "gone": change.gone,
                "warnings": [vars(w) for w in change.warnings],
                **({"base": vars(change.base)} if change.base is not None else {}),
                **({"turned_away": vars(change.turned_away)} if change.turned_away is not None else {}),
            }
        )
        return
    about = change.label or change.undone or "several classes"
    done = f"{about}: {count} {'example' if count == 1 else 'examples'} {direction}"
    if change.undone:
        done += f", {change.removed} removed" if added and change.removed else ""
        done = _UNDONE[change.undone].format(change.label) if change.undone in _UNDONE else done
        done += f" (took back: {_NAMES.get(change.undone, change.undone)})"
    if change.skipped:
        done += f", {change.skipped} known already"
    if change.gone:
        done += f", {change.gone} merged at the limit (see `tlc gallery limit`)"
    put(done)
    put("enrolled: " + (", ".join(f"{c} {n}" for c, n in change.classes.items()) or "nothing"))
    if change.turned_away is not None:
        t = change.turned_away
        put(
            f"false alarms: {t.after} of {t.exemplars} exemplars and enrolled examples would now be unknown for these "
            f"({t.before} before)"
        )
    elif change.base is not None and change.base.exemplars:
        b = change.base
        put(
            f"base classes: {b.after} of {b.exemplars} exemplars would now be taken for something enrolled "
            f"({b.before} before)"
        )
