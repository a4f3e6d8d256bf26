"""What several commands of `tlc gallery` share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from tlc_edge.runtime.gallery.conflicts import CONFLICTS

from .options import Decorator
from .output import examples, put, put_json, say

if TYPE_CHECKING:
    from tlc_edge.runtime.gallery.merge import Merged

_SHOWN = 10

conflicts_option: Decorator = click.option(
    "--conflicts",
    type=click.Choice(CONFLICTS),
    default=CONFLICTS[0],
    show_default=True,
    help="Which label stands where one image has two: that of the gallery or file named first, the last, or both.",
)


def print_merged(done: Merged, rule: str, as_json: bool) -> None:
    """Print what came into a gallery under a rule of CONFLICTS."""
    if as_json:
        document: dict[str, Any] = {**vars(done), "path": str(done.path)}
        put_json({**document, "conflicts": [{**vars(c), "held": list(c.held)} for c in done.conflicts]})
        return
    notes = [f"{examples(done.added)} added", f"{done.duplicates} known already"]
    notes += [f"{done.embedded} embedded again"] if done.embedded else []
    notes += [f"{done.lost} without a thumbnail left out"] if done.lost else []
    notes += [f"{done.gone} merged at the limit"] if done.gone else []
    put(f"{done.path}: {', '.join(notes)}")
    put(f"enrolled: {listed(done.classes)}")
    if done.conflicts:
        kept = {"first": "the label it had stands", "last": "the incoming label stands", "both": "both stand"}
        count = len(done.conflicts) + done.more_conflicts
        came = "1 image came under a label it" if count == 1 else f"{count} images came under a label they"
        say(f"{came} did not have; {kept[rule]}:")
        for conflict in done.conflicts[:_SHOWN]:
            say(f"  {conflict.name}: {', '.join(conflict.held)} here, {conflict.incoming} there")
        if count > _SHOWN:
            say(f"  … and {count - _SHOWN} more; --json lists {'more' if done.more_conflicts else 'all'}")


def listed(classes: Mapping[str, int]) -> str:
    """Return the number of examples per class for people."""
    return ", ".join(f"{label} {count}" for label, count in classes.items()) or "nothing"
